"""The simulator against the published facts, and its promises: seeded, streamed, bounded, named scenarios."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.peak_memory import PEAK
from tideline.catalog import get_task
from tideline.contracts import TidelineError
from tideline.data_frame import column_names, conform
from tideline.expectations import run_checks
from tideline.rules import derive_checks
from tideline.simulator import BLOCK, SCENARIOS, make_frame, simulate
from tideline.simulator_facts import CATEGORY_COUNTS, CORRELATIONS, LIMITS, MISSING_BEDROOMS, QUARTILES, ROWS

ROWS_SEEN = 2 * BLOCK


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return make_frame(ROWS_SEEN, seed=7)


def test_categories_and_missing_values_have_their_published_shares(frame: pd.DataFrame) -> None:
    shares = frame["ocean_proximity"].value_counts(normalize=True)
    for category, count in CATEGORY_COUNTS.items():
        assert shares[category] == pytest.approx(count / ROWS, abs=0.005)
    assert frame["total_bedrooms"].isna().mean() == pytest.approx(MISSING_BEDROOMS, abs=0.002)
    assert frame.drop(columns="total_bedrooms").notna().all(axis=None)


@pytest.mark.parametrize("column", QUARTILES)
def test_quartiles_and_limits(frame: pd.DataFrame, column: str) -> None:
    values, wanted = frame[column], np.array(QUARTILES[column])
    spread = wanted[2] - wanted[0]
    assert np.abs(values.quantile([0.25, 0.5, 0.75]).to_numpy() - wanted).max() < 0.04 * spread
    assert LIMITS[column][0] <= values.min() and values.max() <= LIMITS[column][1]


def test_caps_hold_their_published_shares(frame: pd.DataFrame) -> None:
    assert (frame["median_house_value"] == 500_001).mean() == pytest.approx(965 / ROWS, abs=0.004)
    assert (frame["median_income"] == 15.0001).mean() == pytest.approx(49 / ROWS, abs=0.001)
    assert (frame["median_income"] == 0.4999).any()
    assert (frame["housing_median_age"] == 52).mean() == pytest.approx(1273 / ROWS, abs=0.006)


def test_income_bins_have_the_books_shares(frame: pd.DataFrame) -> None:
    bins = pd.cut(frame["median_income"], [0, 1.5, 3, 4.5, 6, np.inf], labels=False)
    assert np.allclose(
        bins.value_counts(normalize=True).sort_index(), [0.0398, 0.3188, 0.3506, 0.1763, 0.1144], atol=0.02
    )


def test_correlations_with_the_target(frame: pd.DataFrame) -> None:
    wide = frame.assign(
        rooms_per_household=frame["total_rooms"] / frame["households"],
        population_per_household=frame["population"] / frame["households"],
        bedrooms_per_room=frame["total_bedrooms"] / frame["total_rooms"],
    )
    target = wide["median_house_value"]
    off = {name: wide[name].corr(target) - wanted for name, wanted in CORRELATIONS.items()}
    assert max(map(abs, off.values())) < 0.06, off


def test_place_matters_and_a_model_learns_from_it(frame: pd.DataFrame) -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor

    means = frame.groupby("ocean_proximity")["median_house_value"].mean()
    assert means["INLAND"] < 0.65 * means["<1H OCEAN"]
    data = frame.head(20_000).drop(columns="ocean_proximity")
    X, y = data.drop(columns="median_house_value"), data["median_house_value"]
    here = ["longitude", "latitude", "median_income"]
    scores = {}
    for name, columns in {"all": list(X), "income": here[2:], "place": here[:2]}.items():
        model = HistGradientBoostingRegressor(random_state=0, max_iter=60).fit(X[columns][:14_000], y[:14_000])
        scores[name] = model.score(X[columns][14_000:], y[14_000:])
    assert scores["all"] > 0.7
    assert scores["place"] > 0.25 and scores["all"] > scores["income"] + 0.15


def test_simulated_data_pass_validation(frame: pd.DataFrame, tmp_path: Path) -> None:
    task = get_task("housing")
    data = conform(task, frame.head(20_640))
    findings = run_checks("housing", data, derive_checks(task, data), tmp_path / "docs")
    assert [finding for finding in findings if not finding.holds] == []


def test_same_seed_same_bytes_whatever_the_chunk_or_the_length(tmp_path: Path) -> None:
    task = get_task("housing")
    first, second, other = tmp_path / "a.parquet", tmp_path / "b.parquet", tmp_path / "c.parquet"
    simulate("housing", 70_000, 3, "none", first)
    simulate("housing", 70_000, 3, "none", second)
    assert first.read_bytes() == second.read_bytes()
    simulate("housing", 90_000, 3, "none", other, chunk=7_000)
    rows = pd.read_parquet(first)
    assert list(rows) == column_names(task)
    assert {str(rows[c].dtype) for c in rows} == {"float64", "str"}
    pd.testing.assert_frame_equal(rows, pd.read_parquet(other).head(70_000))
    pd.testing.assert_frame_equal(rows, make_frame(70_000, 3))
    assert pq.ParquetFile(other).metadata.num_row_groups == 13
    assert not rows.equals(make_frame(70_000, 4))
    assert {path.name for path in tmp_path.iterdir()} == {"a.parquet", "b.parquet", "c.parquet"}


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    program = (
        f"{PEAK}\n"
        "import sys; from pathlib import Path; from tideline.simulator import simulate\n"
        "simulate('housing', 300_000, 1, 'none', Path(sys.argv[1])); small = peak()\n"
        "simulate('housing', 1_500_000, 1, 'none', Path(sys.argv[1])); print('PEAKS', small, peak())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "large.parquet")], capture_output=True, text=True, check=True
    )
    small, large = map(int, done.stdout.split("PEAKS")[1].split())
    assert large - small < 60 * 2**10  # 1.2 million more rows are 100 MB as float64
    assert pq.ParquetFile(tmp_path / "large.parquet").metadata.num_rows == 1_500_000


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name != "none"])
def test_scenarios_change_what_they_say(frame: pd.DataFrame, scenario: str) -> None:
    plain, other = frame.head(50_000), make_frame(50_000, 7, scenario)
    same = {name for name in plain if plain[name].equals(other[name])}
    if scenario == "inflation":
        assert same == set(plain) - {"median_income", "median_house_value"}
        assert other["median_income"].median() == pytest.approx(1.25 * plain["median_income"].median(), rel=0.01)
        assert other["median_house_value"].median() == pytest.approx(
            1.35 * plain["median_house_value"].median(), rel=0.01
        )
        assert other["median_house_value"].max() == 500_001
    if scenario == "new_category":
        assert same == set(plain) - {"ocean_proximity"}
        assert set(other["ocean_proximity"]) - set(plain["ocean_proximity"]) == {"LAKESIDE"}
        assert (other["ocean_proximity"] == "LAKESIDE").mean() == pytest.approx(0.125 * 6551 / ROWS, abs=0.005)
    if scenario == "broken_sensor":
        assert same == set(plain) - {"population", "total_bedrooms"}
        assert other["total_bedrooms"].isna().mean() == pytest.approx(0.307, abs=0.01)
        assert (other["population"] == 1166).mean() == pytest.approx(0.4, abs=0.01)
    if scenario == "north":
        assert (other["latitude"] > 36).mean() > (plain["latitude"] > 36).mean() + 0.2
        assert set(other["ocean_proximity"]) == set(plain["ocean_proximity"])


def test_wrong_requests_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    for arguments, message in (
        (("houses", 10, 1, "none"), "no simulator 'houses'; known: housing"),
        (("housing", 0, 1, "none"), "asked for 0 rows"),
        (
            ("housing", 10, 1, "flood"),
            "no scenario 'flood'; known: none, inflation, new_category, broken_sensor, north",
        ),
    ):
        with pytest.raises(TidelineError, match=message):
            simulate(*arguments, path)
    assert list(tmp_path.iterdir()) == []
