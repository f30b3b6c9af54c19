"""How long a breach stands: windows in a row that have no row in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tideline.monitor.records import Check, WindowVerdict


def chain_windows(first: int, earlier: Iterable[WindowVerdict], length: int) -> list[WindowVerdict]:
    """Of earlier verdicts, the newest first, at most `length` that lie one before the other and before the time
    `first`.

    One that overlaps with a later window shares its rows, and says nothing new; one on too few rows says nothing.
    """
    return _chain(
        [(v.first, v.last, v) for v in earlier if v.enough and v.first is not None and v.last is not None],
        first, length,
    )  # fmt: skip


def chain_labelled(first: int, earlier: Iterable[WindowVerdict], length: int) -> list[WindowVerdict]:
    """The same by the labelled rows that they judged, of which the same would come again and again otherwise."""
    return _chain([(*v.labelled_span, v) for v in earlier if v.labelled_span is not None], first, length)


def _chain(spans: list[tuple[int, int, WindowVerdict]], first: int, length: int) -> list[WindowVerdict]:
    chain: list[WindowVerdict] = []
    for begin, end, verdict in sorted(spans, key=lambda span: span[1], reverse=True):
        if len(chain) == length:
            break
        if end < first:
            chain.append(verdict)
            first = begin
    return chain


def mark_alarms(
    checks: Sequence[Check], chain: Sequence[WindowVerdict], labelled: Sequence[WindowVerdict], persist: int
) -> tuple[Check, ...]:
    """Checks with `windows` and `alarm` filled in. chain: the windows before this one, the newest first. labelled: the
    same for what labels tell.

    A fault of the data is an alarm at once: no mix of requests explains it. Drift and errors are alarms in the
    `persist`-th window in a row.
    """
    past, past_labelled = (
        [{check.key for check in verdict.checks if check.breached} for verdict in verdicts]
        for verdicts in (chain, labelled)
    )

    def mark(check: Check) -> Check:
        if not check.breached:
            return check
        windows = 1
        for keys in past_labelled if check.by_labels else past:
            if check.key not in keys:
                break
            windows += 1
        return replace(check, windows=windows, alarm=check.concern == "quality" or windows >= persist)

    return tuple(mark(check) for check in checks)
