"""What champion and challengers did live, counted over the same time for whoever is compared.

The world changes: held against the champion's rows from before its own start, a challenger would pay for a harder week.
"""

from __future__ import annotations

from tideline.pointer import Challenger, Pointer
from tideline.predlog import Store, Tally


class TrialTallies:
    """One look at the log for each time at which a challenger began. Raises StoreUnavailable."""

    def __init__(self, store: Store, task: str, pointer: Pointer) -> None:
        self._pointer = pointer
        sinces = {c.since for c in pointer.challengers}
        self._found = {since: {(t.version, t.role): t for t in store.tally(task, since)} for since in sinces}

    def compare(self, challenger: Challenger) -> tuple[Tally, Tally]:
        """Champion and challenger since this one's trial began."""
        champion = self._find(challenger.since, self._pointer.version, "champion")
        return champion, self._find(challenger.since, challenger.version, challenger.role)

    def list_answering(self) -> list[Tally]:
        """Champion and canaries, in the pointer's order, since the last of them began; empty without canaries."""
        canaries = [c for c in self._pointer.challengers if c.role == "canary"]
        if not canaries:
            return []
        since = max(c.since for c in canaries)
        roles = [(self._pointer.version, "champion"), *((c.version, "canary") for c in canaries)]
        return [self._find(since, *key) for key in roles]

    def _find(self, since: int, version: str, role: str) -> Tally:
        return self._found[since].get((version, role)) or Tally(version, role, 0)
