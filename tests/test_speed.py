"""The clock: what counts, what is a warm-up, and in which unit."""

from __future__ import annotations

import time

import numpy as np

from tideline.speed import SECONDS, SINGLES, WARM_UP, Columns, take_rows, take_singles, time_batch, time_rows

COLUMNS: Columns = {"a": np.arange(3.0), "b": np.array(["x", "y", "z"])}


def test_rows_are_repeated_as_often_as_needed() -> None:
    found = take_rows(COLUMNS, 2, 5)
    assert found["a"].tolist() == [2, 0, 1, 2, 0] and found["b"].tolist() == ["z", "x", "y", "z", "x"]
    singles = take_singles(COLUMNS)
    assert len(singles) == SINGLES
    assert [row["a"].tolist() for row in singles[:4]] == [[0], [1], [2], [0]]


def test_a_slow_first_call_does_not_count() -> None:
    calls: list[float] = []

    def predict(columns: Columns) -> None:
        calls.append(columns["a"][0])
        time.sleep(0.05 if len(calls) == 1 else 0.001)

    spent = time_rows(predict, take_singles(COLUMNS)[:300])
    assert len(calls) == WARM_UP + 300 and len(spent) == 300
    assert 1_000 <= np.median(spent) < 10_000  # µs
    calls.clear()
    assert np.median(time_batch(predict, COLUMNS)) < 10_000


def test_a_batch_is_timed_for_a_while_and_three_times_at_least() -> None:
    start = time.monotonic()
    assert len(time_batch(lambda _: time.sleep(0.01), COLUMNS)) > 3
    assert time.monotonic() - start >= SECONDS
    assert len(time_batch(lambda _: time.sleep(SECONDS), COLUMNS)) == 3
