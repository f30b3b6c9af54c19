"""Judges challengers while they run: one that is worse live than the champion is withdrawn, with nobody asked.

Errors come from the prediction log, so that all workers see the same; latencies are measured side by side, failures are
those that this worker met, and any worker may withdraw. A bandit's shares are computed here, too.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import suppress
from typing import Any

from serving.metrics import WITHDRAWN
from serving.settings import Settings
from serving.stopwatch import Stopwatch
from serving.versions import Versions
from tideline.bandit import share_requests
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.live_gate import Live, judge_live
from tideline.live_report import measure_trial
from tideline.pointer import Challenger, Pointer, read_pointer
from tideline.predlog import NONE, Store, StoreUnavailable, Tally
from tideline.rollout import end_trial

EVERY_SECONDS = 2.0  # or longer, when the log is large

logger = logging.getLogger("bentoml.tideline")


class Outcomes:
    """How many requests each version answered or failed in this worker, and how many it failed."""

    def __init__(self) -> None:
        self.attempts: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    def count(self, version: str, failed: bool = False) -> None:
        """One more."""
        self.attempts[version] += 1
        self.failures[version] += failed


class Trial:
    """`act` is called several times a second, in a thread beside the event loop. Without a store (nothing is logged)
    latency and failures are judged, errors are not known."""

    def __init__(self, settings: Settings, versions: Versions, store: Store | None, outcomes: Outcomes) -> None:
        self._task, self._versions, self._store, self._outcomes = settings.task, versions, store, outcomes
        self._stopwatch = Stopwatch()
        self._due = 0.0

    def act(self) -> None:
        """Judge the challengers, and share requests anew, if it is time and there are any."""
        pointer, layout = self._versions.pointer, self._versions.layout
        if pointer is None or layout is None or not pointer.challengers or time.monotonic() < self._due:
            return
        start = time.monotonic()
        self._stopwatch.measure([served.model for served in self._versions.current.everyone])
        self._judge(layout, pointer)
        # However large the log has become, one part in twenty of the time is spent on it.
        now = time.monotonic()
        self._due = now + max(EVERY_SECONDS, 20 * (now - start))

    def _judge(self, layout: Layout, pointer: Pointer) -> None:
        found: dict[tuple[str, str], Tally] = {}
        since = min(c.since for c in pointer.challengers)
        if self._store is not None:
            with suppress(StoreUnavailable):  # the log itself says so; the rest is judged all the same
                found = {(t.version, t.role): t for t in self._store.tally(self._task, since)}
        champion = self._measure(pointer.version, found.get((pointer.version, "champion")))
        for challenger in pointer.challengers:
            own = self._measure(challenger.version, found.get((challenger.version, challenger.role)))
            if reasons := judge_live(champion, own, challenger.margins):
                self._withdraw(layout, pointer, challenger, reasons)
                return
        if pointer.router == "bandit":
            versions = [pointer.version, *(c.version for c in pointer.challengers if c.role == "canary")]
            roles = ["champion", *["canary"] * (len(versions) - 1)]
            tallies = [found.get(key) for key in zip(versions, roles, strict=True)]
            shares = share_requests([t.loss if t else NONE for t in tallies])
            self._versions.set_shares(dict(zip(versions, shares, strict=True)))

    def _measure(self, version: str, found: Tally | None) -> Live:
        attempts, failures = self._outcomes.attempts[version], self._outcomes.failures[version]
        return Live(found.loss if found else NONE, self._stopwatch.read(version), attempts, failures)

    def _withdraw(self, layout: Layout, pointer: Pointer, challenger: Challenger, reasons: list[str]) -> None:
        live: dict[str, Any] = {"unknown": "nothing is logged"}
        try:
            if self._store is not None:
                live = measure_trial(self._store, layout, pointer)
        except StoreUnavailable as error:
            live = {"unknown": str(error)}
        try:
            evidence = {"live": live, "reasons": reasons}
            end_trial(layout, challenger.version, "; ".join(reasons), evidence, withdrawn=True)
        except TidelineError:
            present = read_pointer(layout)
            if present is not None and present.find(challenger.version) == challenger:
                raise
            return  # another worker was faster
        WITHDRAWN.labels(self._task).inc()
        logger.warning("%s is withdrawn: %s", challenger.version, "; ".join(reasons))
