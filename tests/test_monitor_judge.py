"""Verdicts on real and simulated housing: quiet where nothing changed, a flag within one window where something did."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.monitoring_data import TASK, Watched
from tideline import catalog
from tideline.contracts import TidelineError
from tideline.monitor.correction import adjust_holm
from tideline.monitor.records import WindowVerdict, read_verdict
from tideline.simulator import make_frame

ALL = catalog.names("drift")


@pytest.fixture(scope="module")
def simulated() -> Watched:
    return Watched(make_frame(8_000, seed=42))


@pytest.fixture(scope="module")
def census(data_dir: Path) -> tuple[Watched, pd.DataFrame]:
    frame = pd.read_csv(data_dir / "housing.csv")
    test = np.random.default_rng(42).random(len(frame)) < 0.2
    return Watched(frame[~test]), frame[test]


def run_windows(watched: Watched, windows: list[pd.DataFrame], **changes: object) -> list[WindowVerdict]:
    """One window after the other, each with the last ten verdicts as history."""
    verdicts: list[WindowVerdict] = []
    for frame in windows:
        verdicts.append(watched.judge(frame, verdicts[-10:], labels=True, **changes))
    return verdicts


@pytest.mark.parametrize("tests", [None, ALL])
def test_hundred_quiet_windows_of_real_rows_raise_at_most_one_alarm(
    census: tuple[Watched, pd.DataFrame], tests: tuple[str, ...] | None
) -> None:
    watched, rows = census
    random = np.random.default_rng(3)
    windows = [rows.iloc[random.choice(len(rows), 500, replace=False)] for _ in range(100)]
    changes = {} if tests is None else {"tests": tests}
    verdicts = run_windows(watched, windows, **changes)
    assert sum(v.status == "alarm" for v in verdicts) <= 1
    assert sum(bool(v.breaches) for v in verdicts) <= 3  # alpha: 1 of 100, before persistence


def test_hundred_quiet_windows_of_simulated_rows_raise_at_most_one_alarm(simulated: Watched) -> None:
    rows = make_frame(50_000, seed=7)
    verdicts = run_windows(simulated, [rows.iloc[i : i + 500] for i in range(0, 50_000, 500)])
    assert sum(v.status == "alarm" for v in verdicts) <= 1
    assert sum(bool(v.breaches) for v in verdicts) <= 3


@pytest.mark.parametrize(
    "scenario, subject, at_once",
    [
        ("inflation", "median_income", False),
        ("new_category", "ocean_proximity", True),
        ("broken_sensor", "total_bedrooms", True),
        ("north", "latitude", False),
    ],
)
def test_each_scenario_is_flagged_in_its_first_window_and_an_alarm_in_time(
    simulated: Watched, scenario: str, subject: str, at_once: bool
) -> None:
    for seed in range(5):
        rows = make_frame(1_500, seed, scenario)
        first, second, third = run_windows(simulated, [rows.iloc[i : i + 500] for i in (0, 500, 1_000)])
        assert subject in {check.subject for check in first.breaches}, first.checks
        assert (first.status == "alarm") == at_once
        assert third.status == "alarm" and subject in {check.subject for check in third.alarms}
        assert max(check.windows for check in third.breaches if check.subject == subject) == 3
        assert second.status in ("watch", "alarm")


def test_drift_that_goes_again_is_no_alarm(simulated: Watched) -> None:
    good, bad = make_frame(1_500, 11), make_frame(1_500, 12, "inflation")
    windows = [bad.iloc[:500], good.iloc[:500], bad.iloc[500:1_000], bad.iloc[1_000:], good.iloc[500:1_000]]
    assert [v.status for v in run_windows(simulated, windows)] == ["watch", "quiet", "watch", "watch", "quiet"]


def test_windows_that_overlap_are_counted_once(simulated: Watched) -> None:
    bad = make_frame(500, 12, "inflation")
    first = simulated.judge(bad)
    window = simulated.reference.open_window(1)
    window.add(simulated.answer(bad, first.first or 0))
    from tests.monitoring_data import SETTINGS
    from tideline.monitor.judge import judge_window

    again = judge_window(simulated.reference, window, SETTINGS, "v", 0, [first] * 5)
    assert again.status == "watch" and max(c.windows for c in again.breaches) == 1


def test_realised_error_is_told_by_labels_and_estimated_without(simulated: Watched) -> None:
    quiet = simulated.judge(make_frame(2_000, 21), labels=True)
    assert quiet.errors.labelled == 2_000 and quiet.errors.reference is not None
    assert quiet.errors.realised == pytest.approx(quiet.errors.reference, rel=0.12)
    assert quiet.errors.estimated == pytest.approx(quiet.errors.realised, rel=0.1)
    assert quiet.errors.estimated_labelled == pytest.approx(quiet.errors.realised_labelled, rel=0.1)
    # Prices rise by half for the same houses: only labels tell.
    rows = make_frame(2_000, 22)
    rows[TASK.target.name] *= 1.5
    worse = simulated.judge(rows, labels=True)
    assert worse.errors.realised is not None and worse.errors.realised > 1.5 * quiet.errors.reference
    assert {c.subject for c in worse.breaches} == {"realised error"}
    assert worse.errors.estimated == pytest.approx(quiet.errors.estimated, rel=0.05)
    assert worse.errors.estimated_labelled is not None
    assert worse.errors.realised_labelled > 1.5 * worse.errors.estimated_labelled  # the estimate is seen to be off
    blind = simulated.judge(rows)
    assert blind.errors.realised is None and "realised error" not in {c.subject for c in blind.checks}


def test_harder_rows_raise_the_estimated_error(simulated: Watched) -> None:
    rows = make_frame(30_000, 23)
    dear = rows[rows["median_income"] > rows["median_income"].quantile(0.8)].iloc[:2_000]
    verdict = simulated.judge(dear, labels=True)
    assert "estimated error" in {c.subject for c in verdict.breaches}
    assert verdict.errors.estimated == pytest.approx(verdict.errors.realised, rel=0.15)


def test_few_rows_are_not_judged_and_few_labels_say_so(simulated: Watched) -> None:
    few = simulated.judge(make_frame(150, 1, "inflation"))
    assert few.status == "undecided" and not few.checks and "150 rows are too few to judge; 200" in few.notes[0]
    assert simulated.judge(make_frame(500, 1).iloc[:0]).status == "undecided"


def test_verdict_survives_json(simulated: Watched) -> None:
    verdict = simulated.judge(make_frame(500, 2, "broken_sensor"), labels=True)
    assert read_verdict(verdict.to_json()) == verdict
    told = json.loads(verdict.to_json())  # as tidelines wrote it that knew neither of these
    del told["least"], told["errors"]["span"]
    old = read_verdict(json.dumps(told))
    assert old.enough and old.labelled_span == (verdict.first, verdict.last) == verdict.labelled_span
    with pytest.raises(TidelineError, match="another tideline wrote it"):
        read_verdict('{"task": 3}')


def test_old_bundles_say_what_they_lack(simulated: Watched) -> None:
    from tests.monitoring_data import make_manifest
    from tideline.monitor.reference import Reference

    old = {k: v for k, v in simulated.sketch.items() if k not in ("error", "error_model")}
    old["columns"] = {
        name: {k: v for k, v in column.items() if k not in ("means", "deviations")}
        for name, column in old["columns"].items()
    }
    watched = object.__new__(Watched)
    watched.model, watched.reference = simulated.model, Reference.from_sketch(make_manifest(), old)
    verdict = watched.judge(make_frame(500, 3), labels=True, tests=("psi", "wasserstein"))
    text = " ".join(verdict.notes)
    assert "wasserstein was not computed for longitude" in text and "does not say how wrong" in text
    assert "no model of its errors" in text
    assert {c.test for c in verdict.checks if c.part == "column"} == {"psi"}


def test_unknown_test_is_an_error_that_says_which_was_meant(simulated: Watched) -> None:
    with pytest.raises(TidelineError, match="did you mean 'wasserstein'"):
        simulated.judge(make_frame(500, 3), tests=("waserstein",))


def test_holm_by_hand() -> None:
    # Holm (1979): 0.01 x 4, 0.02 x 3, then never below the one before.
    assert adjust_holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert adjust_holm([0.9, 0.8]) == [1.0, 1.0] and adjust_holm([]) == []


def test_columns_of_the_task_are_all_watched(simulated: Watched) -> None:
    verdict = simulated.judge(make_frame(500, 4))
    assert {c.subject for c in verdict.checks if c.part == "column"} == set(TASK.feature_names)
    assert {c.subject for c in verdict.checks if c.part == "answer"} == {"prediction"}
