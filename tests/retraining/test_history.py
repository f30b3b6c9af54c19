"""The choice of history: recent rows after a change, all rows without one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.retraining.homes import FIRST, FLATS, HOMES, make_homes
from tests.small_task import small_params
from tideline.contracts import TidelineError
from tideline.history_rows import History, draw_rows
from tideline.params import HistoryChoice
from tideline.retraining.history import Choice, choose_history, cut_blocks
from tideline.split_rows import draw_chances

SETTINGS = HistoryChoice((60.0, 30.0), (30.0,), blocks=2, block_days=10.0, model="hist_gradient_boosting")


def choose(days: int, change: int | None, settings: HistoryChoice = SETTINGS) -> Choice:
    frame = make_homes(days, 20, change)
    times, chances = frame["day"].to_numpy(np.float64), draw_chances(frame, HOMES.feature_names, 42)
    return choose_history(HOMES, frame, times, chances, settings, seed=42)


def test_recent_rows_win_after_a_change() -> None:
    choice = choose(120, change=85)
    assert choice.history == History("window", 30.0)
    errors = {c.history.name: c.mean for c in choice.table}
    assert errors["last 30 days"] < 0.8 * errors["all rows"]
    assert "lowest mean rmse of 4 histories over 2 blocks" in choice.reason and "all rows" in choice.reason


def test_all_rows_win_without_a_change() -> None:
    choice = choose(120, change=None)
    assert choice.history == History()
    assert choice.to_dict()["table"][0]["rows"] == 2400
    assert choice == choose(120, change=None)


def test_histories_that_keep_the_same_rows_are_a_tie_for_the_larger() -> None:
    reaching = replace(SETTINGS, windows=(60.0,), half_lives=())  # over everything before each block
    choice = choose(50, None, reaching)
    assert choice.history == History()
    table = {c.history.name: c for c in choice.table}
    assert table["last 60 days"].errors == table["all rows"].errors


def test_rows_without_a_time_are_older_than_all() -> None:
    base, labelled = make_homes(50, 20), make_homes(40, 20, change=0, first=FIRST + 50, seed=1)
    frame = make_homes(90, 20, change=50)
    frame.loc[: len(base) - 1, list(base)] = base
    frame.loc[len(base) :, list(labelled)] = labelled.to_numpy()
    frame = frame.astype(dict(base.dtypes))
    times = frame["day"].to_numpy(np.float64).copy()
    times[: len(base)] = np.nan
    chances = draw_chances(frame, FLATS.feature_names, 42)
    choice = choose_history(FLATS, frame, times, chances, SETTINGS, seed=42)
    assert choice.history.kind == "window"
    kept = draw_rows(choice.history, times, chances, float(np.nanmax(times)))
    assert not kept[: len(base)].any() and kept[len(base) :].any()


def test_too_few_rows_mean_all_rows_and_say_so() -> None:
    frame = make_homes(6, 5)
    times = frame["day"].to_numpy(np.float64)
    choice = choose_history(HOMES, frame, times, np.zeros(len(frame)), SETTINGS, seed=1)
    assert choice.history == History() and "too few rows" in choice.reason
    unordered = choose_history(FLATS, frame, np.full(len(frame), np.nan), np.zeros(len(frame)), SETTINGS, seed=1)
    assert unordered.history == History() and "no order in time" in unordered.reason


def test_blocks_skip_days_without_rows() -> None:
    times = np.concatenate([np.arange(0, 100), np.arange(200, 215)]).repeat(3).astype(float)
    assert cut_blocks(times, 2, 10.0) == [(95.0, 205.0), (205.0, 215.0)]
    assert cut_blocks(np.linspace(0, 0.5, 90), 2, 10.0)[0][0] == pytest.approx(0.5 * 30 / 89)
    assert cut_blocks(np.full(9, np.nan), 2, 10.0) == []


@given(days=st.floats(1, 500), end=st.floats(0, 400))
def test_a_row_that_has_faded_stays_out(days: float, end: float) -> None:
    times, chances = np.arange(0.0, 400.0), np.random.default_rng(1).random(400)
    history = History("half-life", days)
    before, after = draw_rows(history, times, chances, end), draw_rows(history, times, chances, end + 10)
    past = times <= end
    assert not (after & ~before)[past].any()


def test_half_life_keeps_half_of_what_is_that_old() -> None:
    times, chances = np.zeros(20_000), np.random.default_rng(2).random(20_000)
    share = draw_rows(History("half-life", 30.0), times, chances, 60.0).mean()
    assert share == pytest.approx(0.25, abs=0.02)


def test_a_broken_history_says_how_to_get_another() -> None:
    assert History.from_dict(History("window", 30.0).to_dict()) == History("window", 30.0)
    for raw in ({}, {"kind": "moon", "days": 1}):
        with pytest.raises(TidelineError, match="a history is"):
            History.from_dict(raw)


def test_the_projects_own_settings_have_candidates() -> None:
    settings = small_params().retraining.history
    assert settings.blocks >= 1 and settings.windows and settings.half_lives
