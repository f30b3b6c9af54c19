"""Numbers, and labels, in another unit than the raw data's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tideline.contracts import Task
from tideline.rules import write_value

if TYPE_CHECKING:
    import pandas as pd

FAR_SHARE, FAR_WIDTHS = 0.01, 1.0  # of the values; widths of the raw data's range beyond its ends
QUARTILES = (0.25, 0.5, 0.75)
UNIT_FACTOR = 5.0  # by which all quartiles have moved, the same way
UNIT_SPREAD = 3.0  # between the factors of the quartiles: a unit moves them alike, a town or a night does not
UNIT_ROWS, UNIT_BLOCKS = 100, 10  # rows of a block at least; blocks at most


def check_far(task: Task, window: pd.DataFrame, raw: pd.DataFrame) -> list[str]:
    """Numbers so far beyond all raw data that a unit has changed rather than the world: by its whole width.

    Labels only if they can be negative: demand that trebles has its peaks there and is to be learnt from, and the
    quartiles tell another unit (`check_units`).
    """
    reasons = []
    for column in (*task.columns, task.target):
        if column.is_text or column.kind == "date":
            continue
        if column is task.target and raw[column.name].min() >= 0:
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


def check_units(task: Task, window: pd.DataFrame, raw: pd.DataFrame) -> list[str]:
    """Numbers of which a part of the window (rows in its order) has all quartiles moved by about one, large factor.

    For columns that are never negative. What grows or shrinks by less than UNIT_FACTOR is the world's affair.
    """
    reasons = []
    blocks = np.array_split(np.arange(len(window)), min(max(len(window) // UNIT_ROWS, 1), UNIT_BLOCKS))
    for column in (*task.columns, task.target):
        if column.is_text or column.kind == "date" or raw[column.name].min() < 0:
            continue
        usual = _find_quartiles(raw[column.name])
        values = window[column.name].to_numpy(np.float64)
        moved = [
            (rows, found)
            for rows in blocks
            if len(rows) >= UNIT_ROWS and _is_other_unit(found := _find_quartiles(values[rows]), usual)
        ]
        if moved:
            found = moved[0][1]
            reasons.append(
                f"column {column.name!r} is in another unit: in {sum(len(r) for r, _ in moved):,} of {len(window):,} "
                f"rows its quartiles are about {_show(found)}, in the raw data {_show(usual)}"
            )
    return reasons


def _find_quartiles(values: pd.Series | NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) of what is not missing; NaN if all is."""
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    return np.quantile(known, QUARTILES) if len(known) else np.full(3, np.nan)


def _is_other_unit(found: NDArray[np.float64], usual: NDArray[np.float64]) -> bool:
    if not (np.all(found > 0) and np.all(usual > 0)):
        return False
    factors = np.log(found / usual)
    is_large = bool(np.all(factors > np.log(UNIT_FACTOR)) or np.all(factors < -np.log(UNIT_FACTOR)))
    return is_large and float(np.ptp(factors)) < np.log(UNIT_SPREAD)


def _show(quartiles: NDArray[np.float64]) -> str:
    return ", ".join(f"{value:.4g}" for value in quartiles)
