"""Selection: the lowest cross-validation error that passed parity, with honest intervals and a complete contract."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.small_task import PETS, RENT, small_params, write, write_contender, write_project
from tideline.bundle import load_bundle
from tideline.conformal import Widths, find_members, find_width, fit_intervals, fit_sets, rows_needed
from tideline.contracts import Interval, TidelineError
from tideline.layout import Layout
from tideline.selection import hash_code, select


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = write_project(tmp_path, RENT, rows=400)
    write_contender(layout, RENT, "naive", 90.0, slope=0.0)
    write_contender(layout, RENT, "linear", 12.0)
    write_contender(layout, RENT, "svm", 11.0, slope=2.9)
    write_contender(layout, RENT, "lightgbm", 5.0, parity=False)
    return layout


MODELS = ("naive", "linear", "svm", "lightgbm")


def read_selection(layout: Layout) -> dict[str, object]:
    found: dict[str, object] = json.loads((layout.selection / "selection.json").read_text())
    return found


def test_lowest_error_that_passed_parity_wins(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    select(RENT, small_params(models=MODELS), layout)
    record = read_selection(layout)
    assert record["winner"] == "svm"
    assert [row["model"] for row in record["leaderboard"]] == ["svm", "linear", "naive", "lightgbm"]  # type: ignore[attr-defined]
    refused = record["leaderboard"][-1]["refused"]  # type: ignore[index]
    assert "parity failed" in refused and "training row 7: 1 against 1.5" in refused
    assert "lightgbm is out: parity failed" in capsys.readouterr().out
    bundle = load_bundle(layout.candidate)
    assert bundle.digest == record["candidate"]
    assert bundle.read("model.onnx") == (layout.export("svm") / "model.onnx").read_bytes()


def test_blend_takes_part_if_it_was_made(layout: Layout) -> None:
    write_contender(layout, RENT, "blend", 10.0)
    select(RENT, small_params(models=MODELS), layout)
    assert read_selection(layout)["winner"] == "blend"


def test_candidate_carries_the_whole_contract(layout: Layout) -> None:
    select(RENT, small_params(models=MODELS), layout)
    manifest = load_bundle(layout.candidate).manifest
    assert (manifest.task, manifest.model, manifest.device) == ("rent", "svm", "cpu")
    assert manifest.provenance == {"source": "folder", "simulated": False, "rows": 800, "sha256": "d" * 64}
    assert set(manifest.hashes) == {"data", "split", "features", "code", "params"}
    assert manifest.hashes["split"] == "5" * 64 and len(manifest.hashes["code"]) == 64
    assert {"python", "numpy", "scikit-learn"} <= set(manifest.versions)
    assert manifest.created == read_selection(layout)["created"]
    assert manifest.parity["passed"] is True and "worst" not in manifest.parity
    assert manifest.metrics["cv"]["linear"] == {"mean": 12.0, "std": 0.1}
    reference = load_bundle(layout.candidate).read_reference()
    assert reference["rows"] == 400 and set(reference["sample"]) == {"size", "floor", "kind", "day"}


def test_naive_wins_only_honestly_and_it_is_said(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    select(RENT, small_params(models=("naive", "lightgbm")), layout)
    assert "no other model may be selected" in capsys.readouterr().out
    write_contender(layout, RENT, "linear", 95.0)
    select(RENT, small_params(models=("naive", "linear")), layout)
    assert "the others learnt nothing" in capsys.readouterr().out
    assert read_selection(layout)["remarks"]


def test_nothing_to_select_is_an_error_with_every_reason(layout: Layout) -> None:
    train = layout.train("linear") / "train.json"
    nothing = float("nan")
    write(train, {**json.loads(train.read_text()), "mean": nothing, "std": nothing, "scores": [nothing, 1.0]})
    with pytest.raises(TidelineError, match=r"lightgbm: parity failed.*; linear: its cross-validation error is nan"):
        select(RENT, small_params(models=("linear", "lightgbm")), layout)
    assert not layout.candidate.exists()
    select(RENT, small_params(models=MODELS), layout)  # an undefined score is null in the leaderboard, and refused
    assert read_selection(layout)["leaderboard"][-1]["scores"] == [None, 1.0]  # type: ignore[index]


def test_absent_record_is_an_error_that_names_it(layout: Layout) -> None:
    (layout.export("svm") / "parity.json").unlink()
    with pytest.raises(TidelineError, match=r"svm/parity\.json"):
        select(RENT, small_params(models=MODELS), layout)
    write_contender(layout, RENT, "svm", 11.0)
    np.save(layout.train("svm") / "oof.npy", np.zeros(3))
    with pytest.raises(TidelineError, match=r"oof\.npy has 3 rows, the features 400"):
        select(RENT, small_params(models=MODELS), layout)


def test_classes_get_prediction_sets(tmp_path: Path) -> None:
    layout = write_project(tmp_path, PETS, rows=400)
    write_contender(layout, PETS, "linear", 0.5)
    select(PETS, small_params(models=("linear",)), layout)
    low, high = load_bundle(layout.candidate).manifest.intervals
    assert low.edges == () and 0 < low.widths[0] < high.widths[0] < 1


def test_code_hash_follows_content_and_place(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    first = hash_code(tmp_path)
    assert first == hash_code(tmp_path)
    (tmp_path / "notes.txt").write_text("not code")
    assert first == hash_code(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert first != hash_code(tmp_path)


def test_half_width_is_the_finite_sample_quantile() -> None:
    # 19 residuals of 1..19: ceil(20 * 0.95) = 19th, ceil(20 * 0.8) = 16th.
    predicted, actual = np.zeros(19), np.arange(1.0, 20.0)
    wide, narrow = fit_intervals(predicted, actual, (0.95, 0.8))
    assert wide == Interval(0.95, (), (19.0,)) and narrow == Interval(0.8, (), (16.0,))
    assert rows_needed(0.95) == 19 and rows_needed(0.8) == 4
    with pytest.raises(TidelineError, match="95% interval needs 19 validated rows, there are 18"):
        fit_intervals(predicted[:18], actual[:18], (0.95,))
    chances = np.stack([1 - np.arange(19) / 20, np.arange(19) / 20], axis=1)
    assert fit_sets(chances, np.zeros(19, dtype=np.int64), (0.8,))[0].widths == (pytest.approx(15 / 20),)


def test_bins_follow_the_noise() -> None:
    random = np.random.default_rng(0)
    predicted = random.uniform(0, 100, 5000)
    actual = predicted + random.normal(0, 1 + predicted / 10)
    (interval,) = fit_intervals(predicted, actual, (0.9,))
    assert len(interval.widths) == 5 and list(interval.widths) == sorted(interval.widths)
    fresh = random.uniform(0, 100, 5000)
    errors = np.abs(random.normal(0, 1 + fresh / 10))
    inside = errors <= find_width(interval, fresh)
    for part in range(5):
        rows = (fresh >= 20 * part) & (fresh < 20 * part + 20)
        assert abs(inside[rows].mean() - 0.9) < 0.04


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(40, 400),
    distinct=st.integers(1, 50),
    level=st.sampled_from([0.5, 0.8, 0.95]),
)
def test_intervals_cover_their_own_rows_whatever_the_ties(seed: int, rows: int, distinct: int, level: float) -> None:
    random = np.random.default_rng(seed)
    predicted = random.integers(0, distinct, rows).astype(np.float64)
    actual = predicted + random.standard_cauchy(rows)
    (interval,) = fit_intervals(predicted, actual, (level,))
    assert list(interval.edges) == sorted(set(interval.edges)) and len(interval.widths) == len(interval.edges) + 1
    assert all(math.isfinite(w) and w >= 0 for w in interval.widths)
    assert np.mean(np.abs(actual - predicted) <= find_width(interval, predicted)) >= level


def test_sets_are_never_empty() -> None:
    members = find_members(Interval(0.8, (), (0.1,)), np.array([[0.4, 0.3, 0.3], [0.95, 0.05, 0.0]]))
    assert members.tolist() == [[True, False, False], [True, False, False]]


def test_levels_with_different_bins_are_looked_up_together() -> None:
    coarse, fine = Interval(0.8, (2.0,), (1.0, 3.0)), Interval(0.95, (1.0, 2.0, 4.0), (2.0, 4.0, 5.0, 9.0))
    values = np.array([-5.0, 0.99, 1.0, 1.5, 2.0, 3.9, 4.0, 100.0])
    both = Widths.of([coarse, fine]).find(values)
    np.testing.assert_array_equal(both[:, 0], find_width(coarse, values))
    np.testing.assert_array_equal(both[:, 1], [2, 2, 4, 4, 5, 5, 9, 9])
