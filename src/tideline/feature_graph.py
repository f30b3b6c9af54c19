"""The preparation as an ONNX graph from raw columns, and the proof that it computes what scikit-learn does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tideline import catalog
from tideline.contracts import Task, TidelineError

if TYPE_CHECKING:
    import onnx
    import pandas as pd
    from sklearn.compose import ColumnTransformer

OPSET = {"": 21, "ai.onnx.ml": 3}
CHUNK = 512  # rows given to the graph at a time
TOLERANCE = 1e-5  # relative to the value or to the feature's deviation, whichever is larger


def export_preprocess(task: Task, preprocess: ColumnTransformer) -> onnx.ModelProto:
    """Raw columns (DOUBLE or STRING, [None, 1] each) -> X float32 [None, F]; IR 10, opset 21, ai.onnx.ml 3."""
    import onnx as onnx_
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
    from skl2onnx.sklapi import CastTransformer
    from sklearn.pipeline import Pipeline

    for name in {step.transform for block in task.features for step in block.steps}:
        catalog.get_transform(name).register()
    inputs = [(c.name, (StringTensorType if c.is_text else DoubleTensorType)([None, 1])) for c in task.columns]
    width = len(preprocess.get_feature_names_out())
    model: onnx.ModelProto = convert_sklearn(
        Pipeline([("pre", preprocess), ("cast", CastTransformer(dtype=np.float32))]),
        name=f"{task.name}_preprocess",
        initial_types=inputs,
        final_types=[("X", FloatTensorType([None, width]))],
        target_opset=OPSET,
    )
    _restore_names(model.graph, [c.name for c in task.columns])
    model.ir_version = 10
    del model.opset_import[:]
    model.opset_import.extend(onnx_.helper.make_opsetid(domain, version) for domain, version in OPSET.items())
    onnx_.checker.check_model(model, full_check=True)
    return model


def _restore_names(graph: onnx.GraphProto, names: list[str]) -> None:
    """Give the inputs the columns' own names: skl2onnx writes `a b` as `a_b`."""
    renamed = {entry.name: name for entry, name in zip(graph.input, names, strict=True)}
    for entry in graph.input:
        entry.name = renamed[entry.name]
    for node in graph.node:
        for i, value in enumerate(node.input):
            node.input[i] = renamed.get(value, value)


def make_feed(task: Task, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """The frame's rows as the graph takes them: {column: [n, 1]}, missing text as "" and missing numbers as NaN."""
    feed = {}
    for column in task.columns:
        values = frame[column.name]
        text = np.where(values.isna(), "", values.astype(object)) if column.is_text else None
        cells = np.asarray(values, np.float64) if text is None else text
        feed[column.name] = cells.reshape(-1, 1)
    return feed


def transform_rows(model: onnx.ModelProto, feed: Mapping[str, np.ndarray], threads: int) -> np.ndarray:
    """X float32 (n, F) as onnxruntime computes it on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    starts = range(0, len(next(iter(feed.values()))), CHUNK)
    parts = [session.run(["X"], {name: cells[i : i + CHUNK] for name, cells in feed.items()})[0] for i in starts]
    return np.concatenate(parts)


def compare_matrices(
    task: Task, names: Sequence[str], places: Sequence[str], framework: np.ndarray, graph: np.ndarray
) -> float:
    """Largest relative difference of the two matrices (n, F); `names` of features, `places` of rows, for the error.

    Raises TidelineError if it exceeds TOLERANCE, or if a value is missing on one side only.
    """
    spread = np.maximum(np.abs(framework), np.nanstd(framework, axis=0) + 1e-12)
    relative = np.abs(graph.astype(np.float64) - framework) / spread
    relative = np.where(np.isnan(graph) & np.isnan(framework), 0.0, np.nan_to_num(relative, nan=np.inf))
    row, column = divmod(int(relative.argmax()), relative.shape[1])
    if relative[row, column] > TOLERANCE:
        raise TidelineError(
            f"task {task.name}: feature {names[column]!r}, {places[row]}: scikit-learn {framework[row, column]!r}, "
            f"ONNX {graph[row, column]!r}; the transform's converter is wrong"
        )
    return float(relative[row, column])
