"""Builds what stands before the evaluate stage: split, trained and exported models, selection, candidate bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from tideline import metrics
from tideline.bundle import write_bundle
from tideline.conformal import fit_intervals, fit_sets
from tideline.contracts import Manifest, Task
from tideline.layout import Layout
from tideline.predictor import Predictor, columns_from_frame

ROUNDS = {"naive": 1, "linear": 4, "boosted": 25}


def finish_run(
    root: Path,
    task: Task,
    train: pd.DataFrame,
    test: pd.DataFrame,
    simulated: bool = False,
    rounds: Mapping[str, int] = ROUNDS,
) -> Layout:
    """Boosted trees of several lengths, some named as baselines; the longest wins, "refused" failed parity."""
    layout = Layout(task.name, root)
    _write(layout.split / "split.json", {
        "hash": "5" * 64, "n_train": len(train), "n_test": len(test), "kind": task.split.kind, "folds": 3,
        "time_ordered": task.split.kind == "time",
    })  # fmt: skip
    test.to_parquet(layout.split / "test.parquet", index=False)
    evidence = {"passed": True, "rules": 31, "warnings": [], "data_sha256": "d" * 64}
    _write(layout.validation / "validation.json", evidence)
    half = len(train) // 2
    fit, held = train.iloc[:half], train.iloc[half:]
    board, found = [], {}
    for name, count in rounds.items():
        path = layout.export(name) / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(export_trees(task, fit, count))
        found[name] = prediction = Predictor.from_graph(path, task).predict(columns_from_frame(task, held))
        mean = _score(task, held, prediction)
        board.append(_contend(task, layout, name, mean, None))
    board.append(_contend(task, layout, "refused", min(row["mean"] for row in board) / 2, "parity failed, by 0.3"))
    board.sort(key=lambda row: (row["refused"] is not None, row["mean"]))
    winner = board[0]["model"]
    _write(layout.selection / "selection.json", {"winner": winner, "leaderboard": board})
    actual, levels = read_codes(task, held), (0.8, 0.95)
    manifest = Manifest(
        task=task.name, title=task.title, problem=task.problem, model=winner, created="2026-01-01T00:00:00+00:00",
        columns=task.columns, target=task.target, classes=task.classes, clip=task.clip,
        provenance={"source": "simulator" if simulated else "folder", "simulated": simulated,
                    "rows": len(train) + len(test), "sha256": "d" * 64},
        hashes={"data": "d" * 64, "split": "5" * 64}, versions={"numpy": np.__version__},
        intervals=fit_intervals(found[winner].values, actual, levels) if task.problem == "regression"
        else fit_sets(found[winner].probabilities, actual, levels),
        parity={"passed": True, "max_rel": 2.1e-6, "max_abs": 0.031, "rows": len(train), "edge_rows": 40},
        metrics={},
    )  # fmt: skip
    write_bundle(layout.candidate, layout.export(winner) / "model.onnx", manifest, {"columns": {}})
    return layout


def export_trees(task: Task, train: pd.DataFrame, rounds: int) -> bytes:
    """Boosted trees on the raw columns as an ONNX graph of the project's form."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
    from skl2onnx.sklapi import CastTransformer

    numbers = [c.name for c in task.columns if not c.is_text]
    texts = [c.name for c in task.columns if c.is_text]
    parts = [("numbers", "passthrough", numbers), ("texts", OneHotEncoder(handle_unknown="ignore"), texts)]
    pre = ColumnTransformer(parts, sparse_threshold=0)
    family = HistGradientBoostingRegressor if task.problem == "regression" else HistGradientBoostingClassifier
    trees = family(max_iter=rounds, learning_rate=0.1, random_state=0)
    pipeline = Pipeline([("pre", pre), ("cast", CastTransformer(dtype=np.float32)), ("trees", trees)])
    columns = pd.DataFrame(columns_from_frame(task, train))
    pipeline.fit(columns, read_codes(task, train))
    kinds = [(c.name, (StringTensorType if c.is_text else DoubleTensorType)([None, 1])) for c in task.columns]
    options = {"zipmap": False} if task.problem == "classification" else None
    finals = [("prediction", FloatTensorType([None, 1]))] if task.problem == "regression" else None
    model = to_onnx(
        pipeline, initial_types=kinds, final_types=finals, target_opset={"": 21, "ai.onnx.ml": 3},
        options={id(trees): options} if options else None,
    )  # fmt: skip
    return bytes(model.SerializeToString())


def read_codes(task: Task, frame: pd.DataFrame) -> np.ndarray:
    """The target as numbers."""
    values = frame[task.target.name]
    if task.problem == "regression":
        return values.to_numpy(dtype=np.float64)
    return np.array([task.classes.index(str(v)) for v in values], dtype=np.int64)


def _score(task: Task, held: pd.DataFrame, prediction: Any) -> float:
    actual = read_codes(task, held)
    if task.problem == "regression":
        return metrics.rmse(actual, prediction.values)
    return metrics.log_loss(actual, prediction.probabilities)


def _contend(task: Task, layout: Layout, name: str, mean: float, refused: str | None) -> dict[str, Any]:
    metric = "rmse" if task.problem == "regression" else "log_loss"
    spread = np.array([0.97, 1.0, 1.03]) * mean
    row = {"model": name, "family": "trees", "metric": metric, "mean": mean, "std": float(spread.std()),
           "scores": spread.tolist(), "device": "cpu", "seconds": 1.25, "refused": refused,
           "parity": {"passed": refused is None, "max_rel": 0.3 if refused else 2.1e-6}}  # fmt: skip
    steps = np.arange(1, 41)
    falling = {"train": 0.8 + 1.5 / steps, "validation": 1 + 1.2 / steps + steps / 400}
    curve = {part: (mean * values).tolist() for part, values in falling.items()}
    _write(layout.train(name) / "train.json", {**row, "curve": curve if name == "boosted" else None})
    return row


def _write(path: Path, record: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
