"""May a window of labelled rows be learnt from? The task's rules, the monitor's alarms, sensors at fault.

A window that is far from training, but sound, is for the monitor and the gate; this is about rows that are wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tideline.contracts import Task
from tideline.labelled import TIME
from tideline.monitor.records import Check, WindowVerdict
from tideline.monitor.show import describe_time
from tideline.retraining.stuck import check_stuck
from tideline.retraining.units import check_far, check_units
from tideline.rules import derive_checks

if TYPE_CHECKING:
    import pandas as pd


def inspect_window(
    task: Task,
    window: pd.DataFrame,
    raw: pd.DataFrame,
    verdicts: Iterable[WindowVerdict],
    pages: Path,
    released: Sequence[tuple[int, int]] = (),
) -> list[str]:
    """Why a window may not be learnt from; empty if it may.

    window: new labelled rows in time order. raw: the task's raw data. verdicts: the monitor's on that time, the
    oldest first. released: spans (first and last time, µs since 1970-01-01 UTC) in which a person has looked into what
    the monitor said. Great Expectations writes its pages into `pages`.
    """
    return [
        *check_rules(task, window, pages),
        *check_stuck(task, window, raw),
        *check_far(task, window, raw),
        *check_units(task, window, raw),
        *check_verdicts(verdicts, window, released),
    ]


def check_rules(task: Task, window: pd.DataFrame, pages: Path) -> list[str]:
    """Breaches (severity "error") of the rules that raw data has to pass. The number of rows is none of them, nor is
    what a column says that the log does not keep."""
    from tideline.data_frame import column_names
    from tideline.expectations import run_checks

    frame = window[column_names(task)]
    unlogged = {column.name for column in task.extra}
    checks = [c for c in derive_checks(task, frame) if c.rule != "rows" and c.column not in unlogged]
    findings = run_checks(task.name, frame, checks, pages)
    return [str(f) for f in findings if not f.holds and f.check.severity == "error"]


def check_verdicts(
    verdicts: Iterable[WindowVerdict], window: pd.DataFrame, released: Sequence[tuple[int, int]] = ()
) -> list[str]:
    """What the monitor's verdicts say of the data's quality column by column, of those that saw rows of this window: a
    fault that has passed since is in its rows all the same. One reason for each column and test: the worst verdict.

    Values beyond the extremes of training are none of it: a champion of the winter has not seen the summer.
    """
    times = np.sort(window[TIME].to_numpy(np.int64))
    times = times[~_lie_in(times, released)]
    found: dict[tuple[str, str], list[tuple[Check, WindowVerdict]]] = {}
    for verdict in verdicts:
        if not _saw_any(verdict, times):
            continue
        for check in _list_faults(verdict):
            found.setdefault((check.subject, check.test), []).append((check, verdict))
    return [_describe_alarms(alarms) for alarms in found.values()]


def find_late(
    verdicts: Iterable[WindowVerdict],
    window: pd.DataFrame,
    quarantined: Sequence[NDArray[np.int64]],
    released: Sequence[tuple[int, int]] = (),
) -> NDArray[np.bool_]:
    """Rows (n,) whose label came late: others of the time that the monitor complained of are in quarantine already, in
    a window that reaches beyond that time. They alone are held back, not every later window that has one of them.

    quarantined: times (µs, in order) of the windows in quarantine.
    """
    times = window[TIME].to_numpy(np.int64)
    spans = [
        (verdict.first, verdict.last)
        for verdict in verdicts
        if verdict.first is not None and verdict.last is not None and _list_faults(verdict)
        if any(_saw_any(verdict, rows) and rows[-1] >= verdict.last for rows in quarantined)
    ]
    return _lie_in(times, spans) & ~_lie_in(times, released)


def _list_faults(verdict: WindowVerdict) -> list[Check]:
    return [c for c in verdict.alarms if c.concern == "quality" and c.part == "column" and c.test != "range_breaches"]


def _lie_in(times: NDArray[np.int64], spans: Iterable[tuple[int, int]]) -> NDArray[np.bool_]:
    found = np.zeros(len(times), dtype=np.bool_)
    for first, last in spans:
        found |= (times >= first) & (times <= last)
    return found


def _saw_any(verdict: WindowVerdict, times: NDArray[np.int64]) -> bool:
    """times (n,): in order."""
    if verdict.first is None or verdict.last is None:
        return False
    first, end = np.searchsorted(times, verdict.first, "left"), np.searchsorted(times, verdict.last, "right")
    return bool(end > first)


def _describe_alarms(alarms: list[tuple[Check, WindowVerdict]]) -> str:
    check, verdict = max(alarms, key=lambda alarm: alarm[0].effect)
    remark = f" ({check.remark})" if check.remark else ""
    worst = f", the worst of {len(alarms):,} windows" if len(alarms) > 1 else ""
    return (
        f"the monitor's alarm on column {check.subject!r}: {check.test} {check.effect:.3g}, from {check.threshold:.3g} "
        f"on it is one{remark}; {describe_time(verdict.first)} to {describe_time(verdict.last)} UTC{worst}"
    )
