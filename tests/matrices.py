"""Small tasks with prepared matrices, raw rows and a fitted preparation, as the stages before training leave them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from tests.small_task import PETS, RENT, make_frame, small_params
from tideline.contracts import Block, Step, Task
from tideline.features import (
    build_preprocess,
    cast_matrix,
    encode_target,
    export_preprocess,
    fit_matrix,
    select_columns,
)
from tideline.layout import Layout
from tideline.params import Blend, Params

FEATURES = (
    Block("numbers", ("size", "floor"), (Step("impute_median"),)),
    Block("kinds", ("kind",), (Step("one_hot"),)),
)
RENTS: Task = replace(RENT, features=FEATURES)
ANIMALS: Task = replace(PETS, features=FEATURES)
ROWS = 300
QUICK_BLEND = Blend(candidates=("linear", "decision_tree", "hist_gradient_boosting"), members=3)


def prepare(root: Path, task: Task, folds: int = 3, skipped: int = 0) -> Layout:
    """Write split and features of `task` under `root`; the first `skipped` rows are never validated."""
    layout = Layout(task.name, root)
    for folder in (layout.split, layout.features):
        folder.mkdir(parents=True)
    frame = make_frame(ROWS, seed=3)
    frame.to_parquet(layout.split / "train.parquet", index=False)
    split = {"hash": "5" * 64, "time_ordered": False, "folds": folds}
    (layout.split / "split.json").write_text(json.dumps(split))
    raw, y = select_columns(task, frame), encode_target(task, frame)
    number = np.arange(ROWS) % folds
    number[:skipped] = -1
    preprocess = build_preprocess(task)
    arrays: dict[str, Any] = {"y": y, "X": fit_matrix(preprocess, raw, y)}
    for i in range(folds):
        fit, val = np.flatnonzero(number != i), np.flatnonzero(number == i)
        inner = build_preprocess(task)
        arrays[f"X_fit_{i}"] = fit_matrix(inner, raw.iloc[fit], y[fit])
        arrays[f"X_val_{i}"] = cast_matrix(inner, inner.transform(raw.iloc[val]))
        arrays[f"idx_fit_{i}"], arrays[f"idx_val_{i}"] = fit, val
    np.savez(layout.features / "matrices.npz", **arrays)
    joblib.dump(preprocess, layout.features / "preprocess.joblib")
    (layout.features / "preprocess.onnx").write_bytes(export_preprocess(task, preprocess).SerializeToString())
    names = list(preprocess.get_feature_names_out())
    (layout.features / "features.json").write_text(json.dumps({"names": names, "hash": "f" * 64}))
    return layout


def few_params(**changes: Any) -> Params:
    """The project's parameters, with quick models and no searches."""
    quick = {"models": ("naive", "linear", "decision_tree"), "tuning": {}, "device": "cpu", "blend": QUICK_BLEND}
    return small_params(**{**quick, **changes})
