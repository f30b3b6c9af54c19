"""Cross-validation, the final fit, and the blend's weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pytest

from tests.matrices import ANIMALS, RENTS, ROWS, few_params, prepare
from tideline.blend import blend, fit_weights
from tideline.contracts import Task, TidelineError
from tideline.families.folds import read_matrices
from tideline.train import train
from tideline.tuning import tune


def run(root: Path, task: Task, *models: str, skipped: int = 0) -> None:
    layout = prepare(root, task, skipped=skipped)
    for model in models:
        tune(task, few_params(), layout, model)
        train(task, few_params(), layout, model)


@pytest.mark.parametrize("task", [RENTS, ANIMALS], ids=lambda t: t.problem)
def test_scores_are_those_of_the_out_of_fold_predictions(tmp_path: Path, task: Task) -> None:
    run(tmp_path, task, "linear", skipped=30)
    layout = prepare(tmp_path / "other", task, skipped=30)
    folder = replace(layout, root=tmp_path).train("linear")
    record, oof = json.loads((folder / "train.json").read_text()), np.load(folder / "oof.npy")
    matrices = read_matrices(layout)
    assert np.isnan(oof[:30]).all()
    assert np.isfinite(oof[30:]).all()
    for fold, score in zip(matrices.folds, record["scores"], strict=True):
        out = oof[fold.rows]
        if task.problem == "regression":
            expected = np.sqrt(np.mean((out - fold.y_val) ** 2))
        else:
            expected = -np.log(out[np.arange(len(out)), fold.y_val]).mean()
        assert score == pytest.approx(expected)
    assert record["mean"] == pytest.approx(np.mean(record["scores"]))
    assert record["metric"] == ("rmse" if task.problem == "regression" else "log_loss")
    assert ("accuracy" in record) == (task.problem == "classification")
    assert record["device"] == "cpu"


def test_a_fold_is_scored_by_a_model_that_never_saw_it(tmp_path: Path) -> None:
    """A model that remembers its rows would score noise-free; the law's noise has a deviation of 10."""
    run(tmp_path, RENTS, "decision_tree")
    layout = replace(prepare(tmp_path / "other", RENTS), root=tmp_path)
    record = json.loads((layout.train("decision_tree") / "train.json").read_text())
    assert record["mean"] > 10
    final = joblib.load(layout.train("decision_tree") / "model.joblib")
    assert final.rows_ == ROWS


def test_two_trainings_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(tmp_path / name, RENTS, "lightgbm")
    files = [(tmp_path / name / "work" / "rent" / "train" / "lightgbm" / "oof.npy").read_bytes() for name in ("a", "b")]
    assert files[0] == files[1]


def test_boosting_reports_a_learning_curve(tmp_path: Path) -> None:
    run(tmp_path, RENTS, "lightgbm")
    record = json.loads((tmp_path / "work" / "rent" / "train" / "lightgbm" / "train.json").read_text())
    train_curve, validation = record["curve"]["train"], record["curve"]["validation"]
    assert len(train_curve) == len(validation) == 10
    assert train_curve[-1] < train_curve[0]
    assert validation[-1] == pytest.approx(record["scores"][0])


def test_the_blend_is_no_worse_than_its_best_member_and_is_cross_fitted(tmp_path: Path) -> None:
    run(tmp_path, RENTS, "naive", "linear", "decision_tree")
    layout = replace(prepare(tmp_path / "other", RENTS), root=tmp_path)
    (tmp_path / "data" / "rent" / "features").mkdir(exist_ok=True)
    blend(RENTS, few_params(), layout)
    weights = json.loads((layout.train("blend") / "blend.json").read_text())["weights"]
    record = json.loads((layout.train("blend") / "train.json").read_text())
    assert "naive" not in weights
    assert sum(weights.values()) == pytest.approx(1.0)
    assert all(w > 0 for w in weights.values())
    means = [json.loads((layout.train(m) / "train.json").read_text())["mean"] for m in ("linear", "decision_tree")]
    assert record["mean"] < 1.02 * min(means)
    y = read_matrices(layout).y
    outs = {name: np.load(layout.train(name) / "oof.npy") for name in ("linear", "decision_tree")}
    in_sample = sum(w * outs[name] for name, w in weights.items())
    assert np.mean((in_sample - y) ** 2) <= np.mean((np.load(layout.train("blend") / "oof.npy") - y) ** 2)


def test_a_blend_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TidelineError, match=r"none of blend\.candidates"):
        blend(RENTS, few_params(models=("naive",)), prepare(tmp_path, RENTS))


def test_weights_of_values_are_the_known_optimum() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=4_000)
    noise = rng.normal(size=(3, 4_000)) * np.array([[1.0], [2.0], [30.0]])
    weights = fit_weights(y + noise, y, "regression", members=2)
    assert weights == pytest.approx([0.8, 0.2, 0.0], abs=0.02)  # inverse variances


def test_weights_of_probabilities_minimise_the_log_loss() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 3_000)
    truth = np.where(y[:, None] == np.arange(2), 0.95, 0.05)
    truth = np.where(rng.random((3_000, 1)) < 0.2, truth[:, ::-1], truth)  # right in 80 of 100 rows, and too sure of it
    blind = np.full((3_000, 2), 0.5)
    weights = fit_weights(np.stack([truth, blind]), y, "classification", members=2)
    losses = []
    for w in np.linspace(0, 1, 101):
        mixed = w * truth + (1 - w) * blind
        losses.append(-np.log(mixed[np.arange(3_000), y]).mean())
    assert weights[0] == pytest.approx(np.argmin(losses) / 100, abs=0.03)


def test_no_more_members_than_asked_for() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=500)
    outs = y + rng.normal(size=(6, 500))
    for members in (1, 2, 4):
        weights = fit_weights(outs, y, "regression", members)
        assert (weights > 0).sum() <= members
        assert weights.sum() == pytest.approx(1.0)
