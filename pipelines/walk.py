"""A walk over the graph: which stages may start, given how others ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pipelines.graph import Stage

Outcome = Literal["ran", "up to date", "failed", "not reached"]


class Walk:
    """Hands out stale stages once all that they wait for is done; a failure holds back only what waits for it.

    `find_stale` says which of the given stages are stale as things are now; it is asked again about a stage when one
    ahead of it has run.
    """

    def __init__(self, stages: tuple[Stage, ...], find_stale: Callable[[tuple[str, ...]], set[str]]) -> None:
        self._find_stale = find_stale
        self._waiting = {stage.name: stage for stage in stages}
        self._stale = find_stale(tuple(self._waiting))
        self.outcomes: dict[str, Outcome] = dict.fromkeys(self._waiting, "not reached")

    def take_ready(self) -> list[str]:
        """The stages to start now; each is handed out once."""
        ready: list[str] = []
        for name, stage in list(self._waiting.items()):  # in the graph's order: one pass reaches all
            ahead = [self.outcomes[other] for other in stage.after]
            if not all(outcome in ("ran", "up to date") for outcome in ahead):
                continue
            del self._waiting[name]
            stale = bool(self._find_stale((name,))) if "ran" in ahead else name in self._stale
            if stale:
                ready.append(name)
            else:
                self.outcomes[name] = "up to date"
        return ready

    def end(self, name: str, ran: bool) -> None:
        """A stage that was handed out has ended."""
        self.outcomes[name] = "ran" if ran else "failed"
