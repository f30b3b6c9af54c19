"""The feature matrix: one ColumnTransformer per task, fitted on training rows only, and its ONNX form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tideline import catalog
from tideline.contracts import Block, Step, Task, TidelineError
from tideline.files import write_file, write_json
from tideline.layout import Layout
from tideline.params import Params
from tideline.progress import stage

if TYPE_CHECKING:
    import onnx
    import pandas as pd
    from sklearn.compose import ColumnTransformer

OPSET = {"": 21, "ai.onnx.ml": 3}
CHECKED_ROWS = 256


@dataclass(frozen=True)
class Fold:
    """Row numbers of one fold: `fit` to learn from, `val` to be scored."""

    fit: np.ndarray
    val: np.ndarray


def build_preprocess(task: Task, chosen: Mapping[str, Any] | None = None) -> ColumnTransformer:
    """The task's unfitted ColumnTransformer; `chosen` overrides step parameters by "<block>.<step index>.<param>".

    Raises TidelineError for an unknown column, transform, parameter or override.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    left = dict(chosen or {})
    blocks = []
    for block in task.features:
        unknown = [c for c in block.columns if c not in task.feature_names]
        if unknown:
            reason = task.dropped.get(unknown[0], "it is no feature column of the task")
            raise TidelineError(f"task {task.name}: block {block.name!r} takes column {unknown[0]!r}: {reason}")
        steps = []
        for i, step in enumerate(block.steps):
            prefix = f"{block.name}.{i}."
            own = {k.removeprefix(prefix): left.pop(k) for k in list(left) if k.startswith(prefix)}
            steps.append((f"{i}-{step.transform}", _build_step(task, block, step, own)))
        pipeline = Pipeline(steps).set_output(transform="pandas")
        blocks.append((block.name, pipeline, list(block.columns)))
    if left:
        raise TidelineError(f"task {task.name}: {next(iter(left))!r} names no step; write <block>.<step index>.<param>")
    return ColumnTransformer(blocks, sparse_threshold=0)


def _build_step(task: Task, block: Block, step: Step, own: Mapping[str, Any]) -> Any:
    spec = catalog.get_transform(step.transform)
    params = {**step.params, **own}
    if spec.uses_target and (task.problem != "regression" or task.split.kind == "time"):
        raise TidelineError(
            f"task {task.name}: block {block.name!r} uses {step.transform}, which learns from a numeric target and "
            "from rows of any time; it fits regression tasks whose split is not by time"
        )
    if step.transform == "one_hot" and "categories" not in params:
        columns = {c.name: c for c in task.columns}
        declared = {c: columns[c] for c in block.columns if columns[c].categories}
        params["categories"] = {
            name: [*c.categories, *([""] if c.nullable and c.is_text else [])] for name, c in declared.items()
        }
    return spec.build(params)


def encode_target(task: Task, frame: pd.DataFrame) -> np.ndarray:
    """Target (n,): float64 for regression, int64 positions in task.classes for classification."""
    values = frame[task.target.name]
    if task.problem == "regression":
        return np.asarray(values, np.float64)
    codes = values.map({name: i for i, name in enumerate(task.classes)}.get)
    if codes.isna().any():
        stranger = values[codes.isna()].iloc[0]
        known = ", ".join(task.classes)
        raise TidelineError(f"task {task.name}: class {stranger!r} is not among {known}; validate the data first")
    return np.asarray(codes, np.int64)


def select_columns(task: Task, frame: pd.DataFrame) -> pd.DataFrame:
    """The raw feature columns in graph order (n, columns)."""
    return frame[list(task.feature_names)]


def iterate_folds(task: Task, frame: pd.DataFrame, folds: np.ndarray) -> Iterator[Fold]:
    """Folds by number. A time-ordered task learns only from rows strictly before the first row that is scored."""
    for number in range(int(folds.max()) + 1):
        val = np.flatnonzero(folds == number)
        if task.split.kind == "time":
            moment = np.asarray(frame[task.split.by[0]], np.float64)
            fit = np.flatnonzero(moment < moment[val].min())
        else:
            fit = np.flatnonzero(folds != number)
        if not len(fit) or not len(val):
            counts = f"{len(fit)} rows to fit, {len(val)} to score"
            raise TidelineError(f"task {task.name}: fold {number} has {counts}; split again")
        yield Fold(fit, val)


def fit_matrix(preprocess: ColumnTransformer, frame: pd.DataFrame, y: np.ndarray) -> np.ndarray:
    """Fit on all rows; float32 features (n, F) as a model may learn from them (no row saw its own target)."""
    return cast_matrix(preprocess, preprocess.fit_transform(frame, y))


def cast_matrix(preprocess: ColumnTransformer, values: np.ndarray) -> np.ndarray:
    """The one cast to float32; a value too large for it is an error that names the feature."""
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(values, dtype=np.float32)
    infinite = np.isinf(matrix).any(axis=0)
    if infinite.any():
        name = preprocess.get_feature_names_out()[int(infinite.argmax())]
        raise TidelineError(f"feature {name!r} exceeds the range of float32; scale it or take its log in the task")
    return matrix


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


def build_features(task: Task, params: Params, layout: Layout) -> None:
    """Stage: fit the preparation on the training rows and on each fold's, and write matrices, joblib and ONNX.

    Reads split/ and preparation/; writes preprocess.joblib, preprocess.onnx, matrices.npz and features.json.
    """
    import joblib
    import pandas as pd

    with stage("features", task.name) as log:
        frame = pd.read_parquet(layout.split / "train.parquet")
        folds = np.load(layout.split / "folds.npy")
        chosen = json.loads((layout.preparation / "preparation.json").read_text())["params"]
        raw, y = select_columns(task, frame), encode_target(task, frame)
        parts = list(iterate_folds(task, frame, folds))
        arrays: dict[str, np.ndarray] = {"y": y}
        with log.bar(len(parts) + 1, "fitting") as bar:
            preprocess = build_preprocess(task, chosen)
            arrays["X"] = fit_matrix(preprocess, raw, y)
            bar.update(1)
            for i, fold in enumerate(parts):
                inner = build_preprocess(task, chosen)
                arrays[f"X_fit_{i}"] = fit_matrix(inner, raw.iloc[fold.fit], y[fold.fit])
                arrays[f"X_val_{i}"] = cast_matrix(inner, inner.transform(raw.iloc[fold.val]))
                arrays[f"idx_fit_{i}"], arrays[f"idx_val_{i}"] = fold.fit, fold.val
                bar.update(1)
        names = [str(n) for n in preprocess.get_feature_names_out()]
        model = export_preprocess(task, preprocess)
        largest = _check_graph(task, preprocess, model, raw.iloc[:CHECKED_ROWS])
        folder = layout.features
        write_file(folder / "matrices.npz", lambda path: _save_arrays(path, arrays))
        write_file(folder / "preprocess.joblib", lambda path: joblib.dump(preprocess, path))
        graph = model.SerializeToString(deterministic=True)
        write_file(folder / "preprocess.onnx", lambda path: path.write_bytes(graph))
        record = {"names": names, "hash": _hash_arrays(names, arrays), "preparation": chosen, "onnx_max_rel": largest}
        write_json(folder / "features.json", record)
        log.say(f"{len(names)} features from {len(raw.columns)} raw columns, {len(y):,} rows, {len(parts)} folds")
        checked = min(CHECKED_ROWS, len(raw))
        log.say(f"ONNX agrees on {checked} rows (largest relative difference {largest:.1e}): {folder}")


def _check_graph(task: Task, preprocess: ColumnTransformer, model: onnx.ModelProto, rows: pd.DataFrame) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(["X"], make_feed(task, rows))[0]
    expected = cast_matrix(preprocess, preprocess.transform(rows))
    if not np.array_equal(np.isnan(found), np.isnan(expected)):
        raise TidelineError(f"task {task.name}: the ONNX preparation leaves other values missing than scikit-learn's")
    spread = np.maximum(np.abs(expected), np.nanstd(expected, axis=0) + 1e-12)
    relative = np.nan_to_num(np.abs(found.astype(np.float64) - expected) / spread)
    if relative.max() > 1e-5:
        row, column = np.unravel_index(int(relative.argmax()), relative.shape)
        name = preprocess.get_feature_names_out()[column]
        raise TidelineError(
            f"task {task.name}: feature {name!r}, training row {row}: scikit-learn {expected[row, column]!r}, "
            f"ONNX {found[row, column]!r}; the transform's converter is wrong"
        )
    return float(relative.max())


def _hash_arrays(names: list[str], arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(names).encode())
    for key in sorted(arrays):
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(arrays[key]).tobytes())
    return digest.hexdigest()


def _save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
