"""Real housing and bikes: what a sensor, a unit or a label source breaks is found, and what is only new is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tideline.catalog import get_task
from tideline.contracts import Task
from tideline.data_frame import conform
from tideline.retraining.stuck import check_stuck
from tideline.retraining.units import check_far, check_units
from tideline.simulator import SCENARIOS, make_frame

BIKES, DIGITS, HOUSING = get_task("bikes"), get_task("digits"), get_task("housing")
ROWS = 2_000
Change = Callable[[pd.DataFrame], pd.DataFrame]


def read(task: Task, data_dir: Path) -> pd.DataFrame:
    assert task.source.read is not None and task.source.filename is not None
    return conform(task, task.source.read(data_dir / task.source.filename))


@pytest.fixture(scope="module")
def housing(data_dir: Path) -> pd.DataFrame:
    return read(HOUSING, data_dir)


@pytest.fixture(scope="module")
def bikes(data_dir: Path) -> pd.DataFrame:
    return read(BIKES, data_dir)


def inspect(task: Task, window: pd.DataFrame, raw: pd.DataFrame) -> list[str]:
    return [*check_stuck(task, window, raw), *check_far(task, window, raw), *check_units(task, window, raw)]


def scale(name: str, factor: float, since: int = 0) -> Change:
    return lambda f: f.assign(**{name: np.where(np.arange(len(f)) >= since, f[name] * factor, f[name])})


def stick(name: str, value: object, first: int, last: int) -> Change:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        rows = np.arange(len(frame))
        return frame.assign(**{name: frame[name].where((rows < first) | (rows >= last), value)})

    return change


VALUE, SEA = "median_house_value", "ocean_proximity"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (scale(VALUE, 1e-3), f"'{VALUE}' is in another unit: in 2,000 of 2,000 rows"),
        (scale(VALUE, 0.1), f"'{VALUE}' is in another unit"),
        (scale(VALUE, 0.1, 1_600), f"'{VALUE}' is in another unit: in 400 of 2,000 rows"),
        (scale("total_rooms", 1e-3), "'total_rooms' is in another unit"),
        (scale("population", 0.01), "'population' is in another unit"),
        (stick(VALUE, 200_000.0, 0, ROWS), f"'{VALUE}' stands still: 200000 in 2,000 rows"),
        (stick("median_income", 3.0, 1_100, ROWS), "'median_income' stands still: 3 in 900"),
        (stick("population", 500.0, 600, 1_400), "'population' stands still: 500 in 800"),
        (stick("housing_median_age", 7.0, 1_020, ROWS), "'housing_median_age' stands still: 7 in 98"),
        (stick("housing_median_age", 52.0, 1_020, ROWS), "'housing_median_age' stands still: 52 in 98"),
        *((stick(SEA, name, 0, ROWS), f"'{SEA}' stands still") for name in ("INLAND", "<1H OCEAN", "NEAR BAY")),
        (stick(SEA, "INLAND", 1_100, ROWS), f"'{SEA}' stands still"),
    ],
)
def test_a_fault_in_real_rows_is_found(housing: pd.DataFrame, change: Change, reason: str) -> None:
    (found,) = inspect(HOUSING, change(housing.sample(ROWS, random_state=3).reset_index(drop=True)), housing)
    assert reason in found


def test_real_rows_in_any_order_are_no_fault(housing: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    for seed in range(100):
        window = housing.sample(int(rng.integers(200, 2_001)), random_state=seed)
        assert inspect(HOUSING, window, housing) == []
    for name in (*HOUSING.feature_names, VALUE):  # a client that sends its rows sorted
        assert inspect(HOUSING, housing.sample(ROWS, random_state=4).sort_values(name), housing) == []
    for name in housing[SEA].unique():  # or those of one region
        assert inspect(HOUSING, housing[housing[SEA] == name].iloc[:ROWS], housing) == []


def test_digits_sorted_by_class_are_no_fault_but_one_label_for_all_is() -> None:
    assert DIGITS.source.load is not None
    raw = conform(DIGITS, DIGITS.source.load())
    for seed in range(20):
        window = raw.sample(600, random_state=seed)
        assert inspect(DIGITS, window, raw) == [] == inspect(DIGITS, window.sort_values("digit"), raw)
        (found,) = inspect(DIGITS, window.assign(digit="3"), raw)
        assert "'digit' stands still" in found


def test_a_world_that_has_changed_is_no_fault() -> None:
    raw = make_frame(20_000, seed=42)
    for name in set(SCENARIOS) - {"broken_sensor"}:
        for seed in range(1, 6):
            assert inspect(HOUSING, make_frame(1_000, seed, name), raw) == [], name


def test_no_days_of_bikes_are_a_fault_but_their_labels_may_be(bikes: pd.DataFrame) -> None:
    start, end = (float(np.datetime64(day, "D").astype(int)) for day in ("2012-01-01", "2013-01-01"))
    raw, year = bikes[bikes["dteday"] < start], bikes[bikes["dteday"] >= start]
    for days in (2, 5, 7, 31, 92):
        for first in np.arange(start, end, days):
            window = year[(year["dteday"] >= first) & (year["dteday"] < first + days)].reset_index(drop=True)
            assert inspect(BIKES, window, raw) == [], (days, first)
    for grown in (1.6, 3.0):
        assert inspect(BIKES, year.assign(cnt=year["cnt"] * grown).head(700), raw) == []
    month = year.head(741).reset_index(drop=True)
    for fault in (scale("cnt", 0.01), stick("cnt", 50.0, 600, 741), scale("temp", 0.01)):
        assert len(inspect(BIKES, fault(month), raw)) == 1
