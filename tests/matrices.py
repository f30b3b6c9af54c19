"""Small tasks with prepared matrices, raw rows and a fitted preparation, as the stages before training leave them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.small_task import PETS, RENT, make_frame, small_params
from tideline.contracts import Block, Step, Task
from tideline.features import build_features
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
    for folder in (layout.split, layout.preparation):
        folder.mkdir(parents=True)
    frame = make_frame(ROWS, seed=3)
    frame.to_parquet(layout.split / "train.parquet", index=False)
    split = {"hash": "5" * 64, "time_ordered": False, "folds": folds}
    (layout.split / "split.json").write_text(json.dumps(split))
    number = np.arange(ROWS) % folds
    number[:skipped] = -1
    np.save(layout.split / "folds.npy", number.astype(np.int8))
    (layout.preparation / "preparation.json").write_text(json.dumps({"params": {}}))
    build_features(task, few_params(), layout)
    return layout


def few_params(**changes: Any) -> Params:
    """The project's parameters, with quick models and no searches."""
    quick = {"models": ("naive", "linear", "decision_tree"), "tuning": {}, "device": "cpu", "blend": QUICK_BLEND}
    return small_params(**{**quick, **changes})
