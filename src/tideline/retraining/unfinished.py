"""What is to be done about a retraining that was begun and has no end: finish it, but not for ever."""

from __future__ import annotations

from collections.abc import Sequence

from tideline.retraining.journal import END, FAILED, Line, count_begun, find_unfinished

ATTEMPTS = 3  # beginnings without an end, after which it has failed


def find_share(lines: Sequence[Line]) -> float:
    """The share of the requests that its result was to get as a canary; 0 if it was to be champion."""
    begun = find_unfinished(lines)
    return 0.0 if begun is None else float(begun.facts.get("canary", 0.0))


def give_up(lines: Sequence[Line], now: int) -> Line | None:
    """The end of a retraining that was killed each time it was begun; None if there is none, or it may be tried again.

    The key does not matter: rows that came in between change it, and the next run is killed all the same.
    """
    begun = find_unfinished(lines)
    if begun is None or (times := count_begun(lines)) < ATTEMPTS:
        return None
    reason = (
        f"it was begun {times} times and ended none of them, so it was killed ({begun.trigger}): give it more time "
        "(params.yaml: flows.run_timeout) or memory"
    )
    return Line(now, END, begun.key, begun.trigger, (reason,), FAILED, begun.facts)
