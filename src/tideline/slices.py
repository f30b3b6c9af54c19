"""Parts of the test rows that are scored by themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
import pandas as pd

from tideline.contracts import Column, Slice, Task, TidelineError

Scores = dict[str, float]
_DECIMALS = 6


def score_slices(
    task: Task, frame: pd.DataFrame, score: Callable[[np.ndarray], Mapping[str, float]]
) -> dict[str, dict[str, Scores]]:
    """For each slice of the task and each of its labels: {"n": rows, ...what `score` says of these rows}.

    `score` takes row positions (int64). Labels without a row are left out; every row falls in one label.
    """
    found: dict[str, dict[str, Scores]] = {}
    for part in task.slices:
        found[part.name] = {
            label: {"n": len(rows), **score(rows)} for label, rows in label_rows(task, part, frame).items()
        }
    return found


def label_rows(task: Task, part: Slice, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Row positions (int64) under each label, in the order of the labels, "missing" last.

    Without bins each value of the column is a label. Bins are edges, each bin closed to the right.
    Raises TidelineError if the column is unknown, labels do not fit the bins, or a value lies outside of all bins.
    """
    place = f"slice {part.name!r} of tasks/{task.name}.py"
    if part.by not in frame:
        raise TidelineError(f"{place}: no column {part.by!r} in the test rows; known: {', '.join(frame.columns)}")
    values = frame[part.by]
    labels, codes = _cut(part, values, place) if part.bins else _list(values, _column(task, part.by))
    missing = values.isna().to_numpy()
    outside = (codes < 0) & ~missing
    if outside.any():
        raise TidelineError(
            f"{place}: {int(outside.sum())} values lie outside of its bins {part.bins}, such as "
            f"{_number(float(values[outside].iloc[0]))}; widen the bins (-inf and inf are allowed)"
        )
    rows = {label: np.flatnonzero((codes == number) & ~missing) for number, label in enumerate(labels)}
    if missing.any():
        rows["missing"] = np.flatnonzero(missing)
    return {label: positions for label, positions in rows.items() if len(positions)}


def _cut(part: Slice, values: pd.Series, place: str) -> tuple[list[str], np.ndarray]:
    edges = list(part.bins)
    if part.labels and len(part.labels) != len(edges) - 1:
        raise TidelineError(f"{place}: {len(edges)} edges make {len(edges) - 1} bins, it has {len(part.labels)} labels")
    codes = pd.cut(values, edges, labels=False).to_numpy(dtype=float)
    labels = list(part.labels) or [_range(low, high) for low, high in pairwise(edges)]
    return labels, np.where(np.isnan(codes), -1, codes).astype(np.int64)


def _list(values: pd.Series, column: Column | None) -> tuple[list[str], np.ndarray]:
    codes, found = pd.factorize(values, sort=True)
    names = [str(v) if isinstance(v, str) else _number(float(v)) for v in found]
    wanted = [c for c in column.categories if c in names] if column else []
    order = wanted + [n for n in names if n not in wanted]
    position = np.array([order.index(n) for n in names] + [-1])  # code -1 (missing) reads the last
    return order, position[codes]


def _column(task: Task, name: str) -> Column | None:
    return next((c for c in (*task.columns, *task.extra, task.target) if c.name == name), None)


def _range(low: float, high: float) -> str:
    if np.isinf(low):
        return f"up to {_number(high)}"
    return f"over {_number(low)}" if np.isinf(high) else f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{round(value, _DECIMALS):,}"
