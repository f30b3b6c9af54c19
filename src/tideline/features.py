"""The feature matrix: one ColumnTransformer per task, fitted on training rows only, and the stage that writes it."""

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
from tideline.edge_rows import make_edge_rows
from tideline.feature_graph import compare_matrices, export_preprocess, make_feed, transform_rows
from tideline.files import write_file, write_json
from tideline.layout import Layout
from tideline.params import Params
from tideline.progress import stage

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.compose import ColumnTransformer


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


def build_features(task: Task, params: Params, layout: Layout) -> None:
    """Stage: fit the preparation on the training rows and on each fold's, and write matrices, joblib and ONNX.

    Reads split/ and preparation/; writes preprocess.joblib, preprocess.onnx, matrices.npz, transformed.npz and
    features.json. transformed.npz holds X of all training rows and of the raw edge rows as scikit-learn and as ONNX
    compute it; parity of every model starts from there. Raises TidelineError if the two differ.
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
        edge_names, edges = make_edge_rows(task, frame)
        rows = pd.concat([raw, select_columns(task, edges)], ignore_index=True)
        both = {
            "framework": cast_matrix(preprocess, preprocess.transform(rows)),
            "graph": transform_rows(model, make_feed(task, rows), params.threads),
        }
        places = [*(f"training row {i}" for i in range(len(raw))), *edge_names]
        largest = compare_matrices(task, names, places, **both)
        folder = layout.features
        write_file(folder / "matrices.npz", lambda path: _save_arrays(path, arrays))
        write_file(folder / "preprocess.joblib", lambda path: joblib.dump(preprocess, path))
        transformed = {**both, "edges": np.array(edge_names)}
        write_file(folder / "transformed.npz", lambda path: _save_arrays(path, transformed))
        graph = model.SerializeToString(deterministic=True)
        write_file(folder / "preprocess.onnx", lambda path: path.write_bytes(graph))
        record = {"names": names, "hash": _hash_arrays(names, arrays), "preparation": chosen, "onnx_max_rel": largest}
        write_json(folder / "features.json", record)
        log.say(f"{len(names)} features from {len(raw.columns)} raw columns, {len(y):,} rows, {len(parts)} folds")
        counts = f"{len(raw):,} training rows and {len(edges)} at the edges"
        log.say(f"ONNX agrees on {counts} (largest relative difference {largest:.1e}): {folder}")


def _hash_arrays(names: list[str], arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(names).encode())
    for key in sorted(arrays):
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(arrays[key]).tobytes())
    return digest.hexdigest()


def _save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
