"""What is to be done about a retraining that was begun and has no end: finish it, but not for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tideline.bookkeeping import settle, writing
from tideline.layout import Layout
from tideline.pointer import read_pointer
from tideline.retraining.journal import END, FAILED, SUPERSEDED, Line, count_begun, find_unfinished
from tideline.succession import check_moved, list_moves
from tideline.verdict import REFUSED

ATTEMPTS = 3  # beginnings without an end, after which it has failed


def find_share(lines: Sequence[Line]) -> float:
    """The share of the requests that its result was to get as a canary; 0 if it was to be champion."""
    begun = find_unfinished(lines)
    return 0.0 if begun is None else float(begun.facts.get("canary", 0.0))


def find_end(layout: Layout, lines: Sequence[Line], now: int) -> Line | None:
    """The end that is still to be written: what the registry's ledger says of it, that another is champion by now, or
    that it was given up. None if nothing is unfinished, or it may be begun again. now: µs since 1970-01-01 UTC.

    Raises TidelineError if the registry is damaged or held.
    """
    begun = find_unfinished(lines)
    if begun is None:
        return None
    return (
        _find_judged(layout, begun, now) or _supersede(layout, begun, now) or _give_up(begun, count_begun(lines), now)
    )


def _find_judged(layout: Layout, begun: Line, now: int) -> Line | None:
    """The end of one that was killed after the gate had judged it."""
    with writing(layout):
        entries = settle(layout)
    judged = [*(e for e in entries if e.action == REFUSED), *list_moves(entries)]
    for entry in judged:
        told = entry.evidence.get("retraining")
        if isinstance(told, Mapping) and told.get("key") == begun.key:
            return Line(now, END, begun.key, begun.trigger, entry.reasons, entry.action, begun.facts)
    return None


def _supersede(layout: Layout, begun: Line, now: int) -> Line | None:
    """The end of one that was begun for another champion: what spoke for it does not speak against the present one."""
    reasons = tuple(check_moved(read_pointer(layout), begun.facts["champion"]))
    return Line(now, END, begun.key, begun.trigger, reasons, SUPERSEDED, begun.facts) if reasons else None


def _give_up(begun: Line, times: int, now: int) -> Line | None:
    """The end of one that was killed each time. The key does not matter: rows that came in between change it, and the
    next run is killed all the same."""
    if times < ATTEMPTS:
        return None
    reason = (
        f"it was begun {times} times and ended none of them, so it was killed ({begun.trigger}): give it more time "
        "(params.yaml: flows.run_timeout) or memory"
    )
    return Line(now, END, begun.key, begun.trigger, (reason,), FAILED, begun.facts)
