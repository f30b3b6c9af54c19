"""The evaluate stage on finished small runs: figures that can be worked out again from what it wrote."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.evaluation_tasks import HARBOUR, STAMPS, make_harbour, make_stamps
from tests.finished_run import finish_run
from tideline import metrics
from tideline.contracts import TidelineError
from tideline.evaluate import evaluate
from tideline.layout import Layout
from tideline.params import Evaluation, Params, load_params
from tideline.predictor import Predictor, columns_from_frame

PARAMS: Params = replace(
    load_params(Path(__file__).resolve().parents[1] / "params.yaml"),
    models=("naive", "linear", "boosted"),
    evaluation=Evaluation(bootstrap=300, levels=(0.8, 0.95)),
)
VARYING = ("latency_us", "rows_per_second", "seconds")


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = finish_run(tmp_path_factory.mktemp("harbour"), HARBOUR, *make_harbour())
    evaluate(HARBOUR, PARAMS, layout)
    return layout


@pytest.fixture(scope="module")
def stamps(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = finish_run(tmp_path_factory.mktemp("stamps"), STAMPS, *make_stamps(), simulated=True)
    evaluate(STAMPS, PARAMS, layout)
    return layout


def _record(layout: Layout) -> dict[str, Any]:
    return json.loads((layout.reports / "metrics.json").read_text())  # type: ignore[no-any-return]


def _copy(layout: Layout, root: Path) -> Layout:
    shutil.copytree(layout.root, root, dirs_exist_ok=True)
    return Layout(layout.task, root)


def test_regression_figures_are_those_of_the_written_predictions(harbour: Layout) -> None:
    record = _record(harbour)
    rows = pd.read_csv(harbour.reports / "plots" / "predictions.csv")
    actual, predicted = rows["actual"].to_numpy(), rows["predicted"].to_numpy()
    test = make_harbour()[1]
    np.testing.assert_allclose(actual, test["catch"], rtol=1e-8)
    assert record["n_test"] == len(test) == len(rows)
    assert record["test"]["rmse"] == pytest.approx(metrics.rmse(actual, predicted), rel=1e-6)
    assert record["test"]["mape"] == pytest.approx(metrics.mape(actual, predicted), rel=1e-6)
    low, high = record["test"]["rmse_ci95"]
    assert low < record["test"]["rmse"] < high
    for level in ("0.8", "0.95"):
        share, width = metrics.cover(actual, rows[f"lower_{level}"].to_numpy(), rows[f"upper_{level}"].to_numpy())
        assert record["coverage"][level] == {"coverage": pytest.approx(share), "mean_width": pytest.approx(width)}
    part, isle = test["harbour"].to_numpy() == "isle", record["slices"]["harbour"]["isle"]
    assert isle["n"] == part.sum()
    assert isle["rmse"] == pytest.approx(metrics.rmse(actual[part], predicted[part]), rel=1e-6)
    assert record["slices"]["crew"]["missing"]["n"] == test["crew"].isna().sum()


def test_baselines_are_scored_from_their_graphs_and_lie_behind(harbour: Layout) -> None:
    record, test = _record(harbour), make_harbour()[1]
    graph = Predictor.from_graph(harbour.export("linear") / "model.onnx", HARBOUR)
    own = graph.predict(columns_from_frame(HARBOUR, test)).values
    assert record["baseline"]["linear"]["rmse"] == pytest.approx(metrics.rmse(test["catch"].to_numpy(), own))
    assert record["test"]["rmse"] < record["baseline"]["linear"]["rmse"] < record["baseline"]["naive"]["rmse"]


def test_keys_that_others_read_are_there(harbour: Layout) -> None:
    record = _record(harbour)
    assert (record["task"], record["model"]) == ("harbour", "boosted")
    assert record["provenance"]["simulated"] is False
    assert set(record["cv"]) == {"naive", "linear", "boosted", "refused"}
    assert set(record["cv"]["boosted"]) == {"mean", "std"}
    assert record["parity"]["max_rel"] == 2.1e-6
    assert record["latency_us"]["row"] > 0 and record["rows_per_second"] > 0 and record["seconds"] > 0
    size = (harbour.candidate / "model.onnx").stat().st_size
    assert record["size_mb"] == pytest.approx(size / 1e6)


def test_importance_ranks_what_made_the_target(harbour: Layout) -> None:
    importance = _record(harbour)["importance"]
    assert next(iter(importance)) == "crew"
    assert set(importance) == set(HARBOUR.feature_names)
    assert importance["crew"]["mean"] > 3 * abs(importance["north"]["mean"])


def test_classification_figures_are_those_of_the_written_predictions(stamps: Layout) -> None:
    record = _record(stamps)
    rows = pd.read_csv(stamps.reports / "plots" / "predictions.csv")
    shares = rows[[f"p_{name}" for name in STAMPS.classes]].to_numpy()
    codes = np.array([STAMPS.classes.index(name) for name in rows["actual"]])
    assert record["test"]["accuracy"] == metrics.accuracy(codes, shares) > 0.8
    assert record["test"]["log_loss"] == pytest.approx(metrics.log_loss(codes, shares), rel=1e-5)
    assert record["test"]["roc_auc"] == pytest.approx(metrics.roc_auc(codes, shares), rel=1e-5)
    assert (rows["predicted"] == np.array(STAMPS.classes)[shares.argmax(axis=1)]).all()
    assert record["coverage"]["0.95"]["coverage"] > 0.9
    assert 1.0 <= record["coverage"]["0.95"]["mean_width"] <= 3.0
    assert record["provenance"]["simulated"] is True
    pairs = pd.read_csv(stamps.reports / "plots" / "confusion.csv")
    assert (pairs["actual"] == pairs["predicted"]).mean() == record["test"]["accuracy"]


def test_plot_data_is_complete(harbour: Layout, stamps: Layout) -> None:
    assert {p.name for p in (harbour.reports / "plots").iterdir()} == {
        "predictions.csv", "residuals.csv", "leaderboard.csv", "learning_boosted.csv",
    }  # fmt: skip
    assert (stamps.reports / "plots" / "confusion.csv").exists()
    board = pd.read_csv(harbour.reports / "plots" / "leaderboard.csv")
    assert board["model"].tolist() == ["boosted", "linear", "naive", "refused"]
    assert board["parity"].tolist() == ["passed"] * 3 + ["failed"]
    curve = pd.read_csv(harbour.reports / "plots" / "learning_boosted.csv")
    assert list(curve) == ["step", "train", "validation"] and len(curve) == 40


def test_a_second_run_finds_the_same_but_for_the_clock(stamps: Layout, tmp_path: Path) -> None:
    layout, found = _copy(stamps, tmp_path), []
    for _ in range(2):
        evaluate(STAMPS, PARAMS, layout)
        found.append({key: value for key, value in _record(layout).items() if key not in VARYING})
    assert found[0] == found[1]
    assert not [p.name for p in layout.reports.rglob("*.part")]


def test_a_measure_that_is_not_defined_becomes_null(harbour: Layout, tmp_path: Path) -> None:
    layout, test = _copy(harbour, tmp_path), make_harbour()[1]
    test.assign(catch=test["catch"].where(test.index > 0, 0.0)).to_parquet(layout.split / "test.parquet")
    evaluate(HARBOUR, replace(PARAMS, models=("boosted", "naive")), layout)
    record = _record(layout)
    assert record["test"]["mape"] is None
    assert set(record["baseline"]) == {"naive"}


def test_what_lacks_or_does_not_fit_is_named(stamps: Layout, tmp_path: Path) -> None:
    layout, test = _copy(stamps, tmp_path), make_stamps()[1]
    shutil.rmtree(layout.reports)
    (layout.selection / "selection.json").rename(tmp_path / "kept.json")
    with pytest.raises(TidelineError, match=r"no .*selection\.json; run `tideline select stamps`"):
        evaluate(STAMPS, PARAMS, layout)
    (tmp_path / "kept.json").rename(layout.selection / "selection.json")
    test.assign(shape=test["shape"].where(test.index > 0, "star")).to_parquet(layout.split / "test.parquet")
    with pytest.raises(TidelineError, match=r"shape holds 'star', which is none of its classes \(bar, cross, blot\)"):
        evaluate(STAMPS, PARAMS, layout)
    (layout.split / "test.parquet").unlink()
    with pytest.raises(TidelineError, match=r"no test rows at .*run `tideline split stamps`"):
        evaluate(STAMPS, PARAMS, layout)
    assert not layout.reports.exists()
