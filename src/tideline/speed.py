"""How long a predictor takes, measured one way for reports and benchmarks: medians after a warm-up, one row or many."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tideline.predictor import Predictor

WARM_UP, SINGLES = 200, 2_000
BATCH_ROWS, SECONDS = 1_000, 0.5

Columns = Mapping[str, NDArray[Any]]


def measure_speed(predictor: Predictor, columns: Columns) -> dict[str, Any]:
    """Median latency of one row and of a batch (µs), and rows a second in batches, through the predictor."""
    row = float(np.median(time_rows(predictor.predict, take_singles(columns))))
    batch = float(np.median(time_batch(predictor.predict, take_rows(columns, 0, BATCH_ROWS))))
    return {"latency_us": {"row": row, "batch": batch}, "rows_per_second": BATCH_ROWS / batch * 1e6}


def time_rows(predict: Callable[[Columns], Any], rows: Sequence[Columns]) -> NDArray[np.float64]:
    """µs of each call, after a warm-up on the first of them."""
    for row in rows[:WARM_UP]:
        predict(row)
    return np.array([_time_call(predict, row) for row in rows])


def time_batch(predict: Callable[[Columns], Any], columns: Columns) -> NDArray[np.float64]:
    """µs of each of the calls that fit into SECONDS, after one that does not count; at least three."""
    predict(columns)
    spent: list[float] = []
    while len(spent) < 3 or sum(spent) < SECONDS * 1e6:
        spent.append(_time_call(predict, columns))
    return np.array(spent)


def take_rows(columns: Columns, start: int, count: int) -> dict[str, NDArray[Any]]:
    """`count` rows of the columns, which are repeated as often as needed."""
    rows = np.arange(start, start + count) % len(next(iter(columns.values())))
    return {name: values[rows] for name, values in columns.items()}


def take_singles(columns: Columns) -> list[dict[str, NDArray[Any]]]:
    """One row after the other, SINGLES in all."""
    return [take_rows(columns, i, 1) for i in range(SINGLES)]


def _time_call(predict: Callable[[Columns], Any], columns: Columns) -> float:
    start = time.perf_counter()
    predict(columns)
    return (time.perf_counter() - start) * 1e6
