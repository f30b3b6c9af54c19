"""Windows of the past, and which of them no verdict covers."""

from __future__ import annotations

from collections.abc import Sequence

from tideline.contracts import TidelineError
from tideline.monitor import Span, read_verdict
from tideline.predlog import Store, StoredVerdict

HOUR = 3_600_000_000  # µs
DAY = 24 * HOUR
LIMIT = 100_000  # verdicts that are looked through


def list_windows(since: int | None, until: int, hours: float, days: int) -> list[Span]:
    """Whole windows of `hours` from `since` to `until` (µs), the oldest first; they begin at the same times each run.

    since None: the start of the day `days` ago. Raises TidelineError.
    """
    if hours <= 0:
        raise TidelineError(f"windows of {hours:g} hours: expected more than 0")
    start = (until // DAY - days) * DAY if since is None else since
    if start >= until:
        raise TidelineError("the backfill's `since` is not before its `until`, or lies in the future")
    length = round(hours * HOUR)
    return [Span(first, first + length) for first in range(start, until - length + 1, length)]


def find_unjudged(store: Store, task: str, version: str, windows: Sequence[Span]) -> list[Span]:
    """Those in which the version predicted as champion, and whose rows no stored verdict covers from first to last, or
    only one from before labels came that are there now."""
    verdicts = store.list_verdicts(task, version, limit=LIMIT)
    found = []
    for span in windows:
        assert span.since is not None and span.until is not None
        last = store.find_last(task, version, span.until)
        if last is None or last < span.since:
            continue  # nothing was predicted in it
        inside = [v for v in verdicts if v.first is not None and v.first >= span.since and v.last == last]
        covering = [verdict for verdict in inside if _covers(store, verdict, span)]
        known = max((read_verdict(verdict.verdict).errors.labelled for verdict in covering), default=-1)
        if known < store.count_labelled(task, version, span.since, span.until):
            found.append(span)
    return found


def _covers(store: Store, verdict: StoredVerdict, span: Span) -> bool:
    """True if there is no earlier row in the window than those of the verdict."""
    before = store.find_last(verdict.task, verdict.version, verdict.first)
    return before is None or span.since is None or before < span.since
