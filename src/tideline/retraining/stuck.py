"""Sensors, and labels, that stand still: one value in so many rows in a row that the raw data makes it no chance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tideline.contracts import Column, Task
from tideline.rules import write_value

if TYPE_CHECKING:
    import pandas as pd

STUCK_ROWS = 30  # fewer equal values in a row say nothing
STUCK_FACTOR = 2.0  # times the longest run of one value, or its share of the rows, that the raw data has
CHANCE = 1e-6  # of a longer run in a window, were its rows drawn from the raw data
REPEATED_SHARE, REPEATED_FACTOR = 0.5, 5.0  # of one number; times the largest share that the raw data has
APART = 0.2  # distance (Kolmogorov-Smirnov) from which on a column tells the rows of a category from the others


def check_stuck(task: Task, window: pd.DataFrame, raw: pd.DataFrame) -> list[str]:
    """Columns, the target among them, that stand still for longer than the raw data ever shows.

    Time-ordered tasks: a run of one value (rows in the order of their time), compared with the longest one of the raw
    data, so that a month of one season is no fault. Others: a run in the order of the window, or one number in most of
    its rows. A client may send its rows sorted, or those of one town: so a number may stay for as long as it would in
    sorted rows, and a category for as long as the rows look like those that the raw data has of it.
    """
    ordered = task.split.kind == "time"
    if ordered:
        by = list(task.split.by)
        window, raw = window.sort_values(by, kind="stable"), raw.sort_values(by, kind="stable")
    reasons = []
    for column in (*task.columns, task.target):
        values, usual = window[column.name], raw[column.name]
        if column.kind == "date" or len(values) < STUCK_ROWS:
            continue
        length, start = find_run(_encode(values))
        longest, _ = find_run(_encode(usual))
        value = values.iloc[start]
        limit = max(STUCK_ROWS, STUCK_FACTOR * longest)
        if not ordered:
            chance = _bound_run(len(values), usual)
            sorted_rows = STUCK_FACTOR * float((usual == value).mean()) * len(values)
            limit = max(STUCK_ROWS, chance) if column.is_text else max(limit, chance, sorted_rows)
        run = window.iloc[start : start + length]
        if length > limit and (ordered or not column.is_text or _is_out_of_place(task, column, run, raw, value)):
            reasons.append(
                f"column {column.name!r} stands still: {write_value(value, column.kind)} in {length:,} rows in a row "
                f"of {len(values):,}; the raw data has at most {longest:,}"
            )
        elif not ordered and (reason := _check_repeated(column, values, usual)):
            reasons.append(reason)
    return reasons


def find_run(codes: NDArray[np.int64]) -> tuple[int, int]:
    """Length of the longest run of one value, and where it begins. Negative codes (missing) belong to no run."""
    if not len(codes):
        return 0, 0
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    lengths = np.diff(np.append(starts, len(codes)))
    lengths[codes[starts] < 0] = 0
    longest = int(lengths.argmax())
    return int(lengths[longest]), int(starts[longest])


def _bound_run(rows: int, usual: pd.Series) -> float:
    """A length that a run of any value exceeds with less than CHANCE, among rows drawn one by one from the raw data.

    With the shares p of the values, at most rows * sum(p^length) <= rows * max(p)^(length - 1) such runs are expected.
    """
    shares = usual.value_counts(normalize=True)
    most = float(shares.iloc[0]) if len(shares) else 1.0
    return math.inf if most >= 1.0 else 1.0 + math.log(rows / CHANCE) / -math.log(most)


def _is_out_of_place(task: Task, column: Column, run: pd.DataFrame, raw: pd.DataFrame, value: object) -> bool:
    """True if rows of one category look more like all of the raw data than like its rows of that category, by the
    number that tells these apart best. If none does, nothing is known."""
    from scipy.stats import ks_2samp

    def distance(name: str, a: pd.DataFrame, b: pd.DataFrame) -> float:
        return float(ks_2samp(a[name].dropna(), b[name].dropna(), method="asymp").statistic)

    alike = raw[raw[column.name] == value]
    names = [c.name for c in task.columns if not c.is_text and c.kind != "date" and run[c.name].notna().any()]
    if len(alike) < STUCK_ROWS or not names:
        return False
    apart = {name: distance(name, alike, raw) for name in names}
    best = max(apart, key=lambda name: apart[name])
    return apart[best] >= APART and distance(best, run, raw) < distance(best, run, alike)


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
