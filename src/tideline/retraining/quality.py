"""May a window of labelled rows be learnt from? The task's rules, the monitor's alarms, sensors at fault.

A window that is far from training, but sound, is for the monitor and the gate; this is about rows that are wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tideline.contracts import Column, Task
from tideline.labelled import TIME
from tideline.monitor.records import Check, WindowVerdict
from tideline.monitor.show import describe_time
from tideline.rules import derive_checks, write_value

if TYPE_CHECKING:
    import pandas as pd

STUCK_ROWS = 30  # fewer equal values in a row say nothing
STUCK_FACTOR = 2.0  # times the longest run of one value that the raw data has
FAR_SHARE, FAR_WIDTHS = 0.01, 1.0  # of the values; widths of the raw data's range beyond its ends
REPEATED_SHARE, REPEATED_FACTOR = 0.5, 5.0  # of one number; times the largest share that the raw data has


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


def check_stuck(task: Task, window: pd.DataFrame, raw: pd.DataFrame) -> list[str]:
    """Columns that stand still for longer than the raw data ever shows.

    Time-ordered tasks: a run of one value (rows in the order of their time). Others, whose rows come in any order: a
    column that is constant over the whole window, or a number that makes up most of it. A run is compared with the
    longest one of the raw data in its own order, so that a month of one season, or one town's rows, are no fault.
    """
    ordered = task.split.kind == "time"
    if ordered:
        by = list(task.split.by)
        window, raw = window.sort_values(by, kind="stable"), raw.sort_values(by, kind="stable")
    reasons = []
    for column in task.columns:
        values, usual = window[column.name], raw[column.name]
        if column.kind == "date" or len(values) < STUCK_ROWS:
            continue
        length, value = find_run(_encode(values))
        longest, _ = find_run(_encode(usual))
        limit = max(STUCK_ROWS, STUCK_FACTOR * longest)
        if (ordered or length == len(values)) and length > limit:
            shown = write_value(values.iloc[value], column.kind)
            reasons.append(
                f"column {column.name!r} stands still: {shown} in {length:,} rows in a row of {len(values):,}; the raw "
                f"data has at most {longest:,}"
            )
        elif not ordered and (reason := _check_repeated(column, values, usual)):
            reasons.append(reason)
    return reasons


def check_far(task: Task, window: pd.DataFrame, raw: pd.DataFrame) -> list[str]:
    """Numbers so far beyond all raw data that a unit has changed rather than the world: by its whole width."""
    reasons = []
    for column in task.columns:
        if column.is_text or column.kind == "date":
            continue
        low, high = float(raw[column.name].min()), float(raw[column.name].max())
        values = window[column.name]
        far = (values < low - FAR_WIDTHS * (high - low)) | (values > high + FAR_WIDTHS * (high - low))
        if far.mean() > FAR_SHARE:
            reasons.append(
                f"column {column.name!r} is far out: {far.mean():.1%} of the values, such as "
                f"{write_value(values[far].iloc[0], column.kind)}; the raw data ends at {low:,.6g} and {high:,.6g}"
            )
    return reasons


def check_verdicts(
    verdicts: Iterable[WindowVerdict], window: pd.DataFrame, released: Sequence[tuple[int, int]] = ()
) -> list[str]:
    """What the monitor's verdicts say of the data's quality column by column, of those that saw rows of this window: a
    fault that has passed since is in its rows all the same. One reason for each column and test: the worst verdict.

    Values beyond the extremes of training are none of it: a champion of the winter has not seen the summer.
    """
    times = np.sort(window[TIME].to_numpy(np.int64))
    for first, last in released:
        times = times[(times < first) | (times > last)]
    found: dict[tuple[str, str], list[tuple[Check, WindowVerdict]]] = {}
    for verdict in verdicts:
        if not _saw_any(verdict, times):
            continue
        for check in verdict.alarms:
            if check.concern == "quality" and check.part == "column" and check.test != "range_breaches":
                found.setdefault((check.subject, check.test), []).append((check, verdict))
    return [_describe_alarms(alarms) for alarms in found.values()]


def find_run(codes: NDArray[np.int64]) -> tuple[int, int]:
    """Length of the longest run of one value, and where it begins. Negative codes (missing) belong to no run."""
    if not len(codes):
        return 0, 0
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    lengths = np.diff(np.append(starts, len(codes)))
    lengths[codes[starts] < 0] = 0
    longest = int(lengths.argmax())
    return int(lengths[longest]), int(starts[longest])


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


def _check_repeated(column: Column, values: pd.Series, usual: pd.Series) -> str:
    if column.kind == "category" or values.notna().sum() < STUCK_ROWS:
        return ""
    share, most = (float(v.value_counts(normalize=True).iloc[0]) for v in (values, usual))
    if share <= max(REPEATED_SHARE, REPEATED_FACTOR * most):
        return ""
    value = write_value(values.value_counts().index[0], column.kind)
    return (
        f"column {column.name!r} repeats itself: {share:.0%} of the values are {value}, in the raw data {most:.1%} are"
    )


def _encode(values: pd.Series) -> NDArray[np.int64]:
    import pandas as pd

    return np.asarray(pd.factorize(values)[0], dtype=np.int64)
