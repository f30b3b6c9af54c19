"""Windows that may not be learnt from: the task's rules, stuck sensors, another unit, the monitor's alarms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.retraining.homes import FLATS
from tideline.catalog import get_task
from tideline.data_frame import column_names, conform
from tideline.labelled import TIME
from tideline.monitor.records import ALARM, Check, Errors, WindowVerdict
from tideline.retraining.quality import check_rules, check_verdicts, find_late
from tideline.retraining.stuck import check_stuck, find_run
from tideline.retraining.units import check_far

BIKES, HOUSING = get_task("bikes"), get_task("housing")


@pytest.fixture(scope="module")
def bikes(data_dir: Path) -> pd.DataFrame:
    assert BIKES.source.read is not None
    return conform(BIKES, BIKES.source.read(data_dir / "bikes_hour.csv"))


@pytest.fixture(scope="module")
def housing(data_dir: Path) -> pd.DataFrame:
    assert HOUSING.source.read is not None
    return conform(HOUSING, HOUSING.source.read(data_dir / "housing.csv"))


def part_year(frame: pd.DataFrame, first: str, last: str) -> pd.DataFrame:
    low, high = (float(np.datetime64(day, "D").astype(int)) for day in (first, last))
    return frame[(frame["dteday"] >= low) & (frame["dteday"] < high)].reset_index(drop=True)


def test_no_true_month_of_bikes_looks_broken(bikes: pd.DataFrame) -> None:
    raw = part_year(bikes, "2011-01-01", "2012-01-01")
    for month in range(1, 13):
        window = part_year(bikes, f"2012-{month:02d}-01", f"{2012 + month // 12}-{month % 12 + 1:02d}-01")
        assert check_stuck(BIKES, window, raw) == [] == check_far(BIKES, window, raw)
    year = part_year(bikes, "2012-01-01", "2013-01-01")
    assert check_stuck(BIKES, year, raw) == [] == check_far(BIKES, year, raw)


def test_a_sensor_that_stands_still_is_caught_while_a_month_of_one_season_is_not(bikes: pd.DataFrame) -> None:
    raw = part_year(bikes, "2011-01-01", "2012-01-01")
    window = part_year(bikes, "2012-05-01", "2012-06-01")
    stuck = window.assign(hum=np.where(np.arange(len(window)) >= 500, 0.61, window["hum"]))
    (reason,) = check_stuck(BIKES, stuck, raw)
    assert reason.startswith("column 'hum' stands still: 0.61 in 244 rows in a row of 744")
    assert len(check_stuck(BIKES, window.assign(temp=0.5, windspeed=0.0), raw)) == 2


def test_rows_without_order_constant_and_repeated(housing: pd.DataFrame) -> None:
    window = housing.sample(600, random_state=1).reset_index(drop=True)
    assert check_stuck(HOUSING, window, housing) == [] == check_far(HOUSING, window, housing)
    inland = housing[housing["ocean_proximity"] == "INLAND"].sample(600, random_state=1)
    assert check_stuck(HOUSING, inland, housing) == []  # traffic of one region is no fault
    (constant,) = check_stuck(HOUSING, window.assign(median_income=3.0), housing)
    assert "'median_income' stands still: 3" in constant
    half = np.where(np.arange(600) % 3 > 0, 2.5, window["median_income"])
    (repeated,) = check_stuck(HOUSING, window.assign(median_income=half), housing)
    assert "'median_income' repeats itself: 6" in repeated


def test_another_unit_is_caught_where_the_contract_is_wide(housing: pd.DataFrame) -> None:
    window = housing.sample(300, random_state=2)
    grown = window.assign(median_income=(window["median_income"] * 1.3).clip(upper=15.0))
    assert check_far(HOUSING, grown, housing) == []  # growth is for the monitor
    (reason,) = check_far(HOUSING, window.assign(median_income=window["median_income"] * 100), housing)
    assert reason.startswith("column 'median_income' is far out: ")


def test_the_rules_of_raw_data_hold_for_a_window_but_not_its_number_of_rows(
    housing: pd.DataFrame, tmp_path: Path
) -> None:
    window = housing.iloc[:50].copy()
    assert check_rules(HOUSING, window, tmp_path / "a") == []
    window.loc[3, "median_house_value"] = -5.0
    window.loc[7, "ocean_proximity"] = "ATLANTIS"
    window.loc[:20, "population"] = np.nan
    text = " | ".join(check_rules(HOUSING, window, tmp_path / "b"))
    for word in ("'median_house_value', rule range", "ATLANTIS", "'population', rule missing", "21 of 50"):
        assert word in text


def make_verdict(checks: tuple[Check, ...], first: int, last: int) -> WindowVerdict:
    return WindowVerdict("rent", "v1", last, 500, first, last, ALARM, checks, Errors(), 0.01, 3, ())


def test_alarms_on_quality_count_if_they_saw_rows_of_the_window() -> None:
    def alarm(test: str, effect: float = 0.5, concern: Any = "quality", part: Any = "column") -> Check:
        return Check(part, "size", test, concern, 1.0, None, effect, 0.02, None, True, 1, True)

    window = pd.DataFrame({TIME: [300, 100, 200]})
    others = (alarm("range_breaches"), alarm("psi", concern="drift"), alarm("staleness", part="log"))
    checks = (alarm("missing_share"), *others)
    told = "the monitor's alarm on column 'size': missing_share 0.5, from 0.02 on it is one; 1970-01-01 00:00:00 to"
    for first, last in ((0, 100), (300, 400), (150, 200), (0, 1000)):
        (reason,) = check_verdicts([make_verdict(checks, first, last)], window)
        assert reason.startswith(told)
    for first, last in ((0, 99), (101, 199), (301, 400)):  # before, between, after
        assert check_verdicts([make_verdict(checks, first, last)], window) == []
    assert check_verdicts([make_verdict(others, 0, 1000)], window) == [] == check_verdicts([], window)

    passed = [make_verdict((alarm("missing_share", e),), 100, 100 + i) for i, e in enumerate((0.1, 0.7, 0.3))]
    (reason,) = check_verdicts([*passed, make_verdict((), 200, 300)], window)
    assert "missing_share 0.7" in reason and reason.endswith("UTC, the worst of 3 windows")
    assert check_verdicts(passed, window, [(100, 150)]) == []
    assert len(check_verdicts(passed, window, [(101, 150)])) == 1

    def late(*quarantined: list[int], released: tuple[tuple[int, int], ...] = ()) -> list[bool]:
        return find_late([make_verdict(checks, 90, 200)], window, [np.array(q) for q in quarantined], released).tolist()

    assert late() == late([80, 300]) == [False, False, False]  # none of its rows is in quarantine yet
    assert late([120, 190]) == [False, False, False]  # the fault went on after that window
    assert late([120, 200]) == late([10, 20], [95, 500]) == [False, True, True]
    assert late([120, 200], released=((0, 150),)) == [False, False, True]
    assert not find_late([make_verdict(others, 0, 1000)], window, [np.array([1, 2000])]).any()


def test_missing_values_belong_to_no_run() -> None:
    assert find_run(np.array([1, 1, -1, -1, -1, 2, 2, 2, 1])) == (3, 5)
    assert find_run(np.array([], dtype=np.int64)) == (0, 0)
    assert [c.name for c in FLATS.columns] == column_names(FLATS)[:4]
