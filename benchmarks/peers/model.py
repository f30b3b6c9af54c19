"""The benchmark's own model: 400 trees behind a ColumnTransformer on the nine housing columns, as a real bundle.

It is cheap on purpose, so that what is measured is the servers.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from tideline.bundle import Bundle, load_bundle, write_bundle
from tideline.catalog import get_task
from tideline.conformal import fit_intervals
from tideline.contracts import Manifest, Task
from tideline.data_sources import find_data
from tideline.layout import Layout
from tideline.params import load_params
from tideline.predictor import Predictor, columns_from_frame
from tideline.progress import Log
from tideline.sketch import build_sketch

TREES, LEAVES, LEVELS = 400, 8, (0.8, 0.95)


def find_model(path: Path) -> Bundle:
    """The bundle at `path`; trained and written there if there is none."""
    return load_bundle(path) if path.is_dir() else _train(path)


def _train(path: Path) -> Bundle:
    task, params = get_task("housing"), load_params()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        data = Path(folder) / "data.parquet"
        found = find_data(task, params, Layout(task.name), "auto", data, False, Log("peers"))
        assert found is not None
        frame = pd.read_parquet(data).sample(frac=1.0, random_state=params.seed)
        half = len(frame) // 2
        fit, held = frame[:half], frame[half:]
        graph = Path(folder) / "model.onnx"
        graph.write_bytes(_export(task, fit))
        predicted = Predictor.from_graph(graph, task).predict(columns_from_frame(task, held)).values
        actual = held[task.target.name].to_numpy(np.float64)
        manifest = Manifest(
            task=task.name, title=task.title, problem=task.problem, model="benchmark", created="",
            columns=task.columns, target=task.target, classes=(), clip=task.clip,
            provenance={"source": found.source, "simulated": found.simulated, "rows": len(frame), "sha256": ""},
            hashes={}, versions={}, intervals=fit_intervals(predicted, actual, LEVELS), parity={}, metrics={},
        )  # fmt: skip
        sketch = build_sketch(task, columns_from_frame(task, held), actual, predicted, params.seed)
        return write_bundle(path, graph, manifest, sketch)


def _export(task: Task, frame: pd.DataFrame) -> bytes:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
    from skl2onnx.sklapi import CastTransformer
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    numbers = [c.name for c in task.columns if not c.is_text]
    texts = [c.name for c in task.columns if c.is_text]
    parts = [("numbers", "passthrough", numbers), ("texts", OneHotEncoder(handle_unknown="ignore"), texts)]
    trees = HistGradientBoostingRegressor(max_iter=TREES, max_leaf_nodes=LEAVES, early_stopping=False, random_state=0)
    steps = [
        ("columns", ColumnTransformer(parts, sparse_threshold=0)),
        ("cast", CastTransformer(dtype=np.float32)),
        ("trees", trees),
    ]
    pipeline = Pipeline(steps).fit(pd.DataFrame(columns_from_frame(task, frame)), frame[task.target.name])
    kinds = [(c.name, (StringTensorType if c.is_text else DoubleTensorType)([None, 1])) for c in task.columns]
    finals = [("prediction", FloatTensorType([None, 1]))]
    graph = to_onnx(pipeline, initial_types=kinds, final_types=finals, target_opset={"": 21, "ai.onnx.ml": 3})
    return bytes(graph.SerializeToString())
