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
    chain: list[WindowVerdict] = []
    for verdict in sorted(earlier, key=lambda v: -1 if v.last is None else v.last, reverse=True):
        if len(chain) == length:
            break
        if not verdict.enough or verdict.last is None or verdict.first is None or verdict.last >= first:
            continue
        chain.append(verdict)
        first = verdict.first
    return chain


def mark_alarms(checks: Sequence[Check], chain: Sequence[WindowVerdict], persist: int) -> tuple[Check, ...]:
    """Checks with `windows` and `alarm` filled in. chain: the windows before this one, the newest first.

    A fault of the data is an alarm at once: no mix of requests explains it. Drift and errors are alarms in the
    `persist`-th window in a row.
    """
    past = [{check.key for check in verdict.checks if check.breached} for verdict in chain]

    def mark(check: Check) -> Check:
        if not check.breached:
            return check
        windows = 1
        for keys in past:
            if check.key not in keys:
                break
            windows += 1
        return replace(check, windows=windows, alarm=check.concern == "quality" or windows >= persist)

    return tuple(mark(check) for check in checks)
