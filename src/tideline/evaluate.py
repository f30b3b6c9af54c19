"""Scores the selected model, as it ships, on the test rows: one read, from raw columns, through onnxruntime."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tideline.bundle import MODEL, load_bundle
from tideline.contracts import Manifest, Task, TidelineError
from tideline.layout import Layout
from tideline.leaderboard import read_contenders
from tideline.params import Params
from tideline.predictor import Prediction, Predictor, columns_from_frame
from tideline.progress import stage
from tideline.report import Evidence, write_plots, write_report
from tideline.scoring import Columns, describe, score_coverage, score_importance, score_part, score_test
from tideline.slices import score_slices
from tideline.speed import measure_speed

BASELINES = ("naive", "linear")


def evaluate(task: Task, params: Params, layout: Layout) -> None:
    """Write metrics.json, plots/ and report.html into the task's folder of reports.

    Raises TidelineError if the candidate, the split or a contender's record is absent or does not fit the task.
    """
    with stage("evaluate", task.name) as log:
        bundle = load_bundle(layout.candidate)
        predictor = Predictor(bundle, threads=1)
        frame = read_test(task, layout)
        actual, columns = read_target(task, frame), columns_from_frame(task, frame)
        prediction = predictor.predict(columns)
        scores = score_test(task, actual, prediction, params)
        log.say(f"{bundle.manifest.model} on {len(frame):,} test rows: {describe(task, scores)}")
        contenders = read_contenders(layout)
        record: dict[str, Any] = {
            "task": task.name,
            "model": bundle.manifest.model,
            "provenance": dict(bundle.manifest.provenance),
            "n_test": len(frame),
            "test": scores,
            "baseline": score_baselines(task, params, layout, actual, columns),
            "cv": {c.name: {"mean": c.mean, "std": c.std} for c in contenders},
            "slices": score_slices(task, frame, lambda rows: score_part(task, actual[rows], prediction, rows)),
            "coverage": score_coverage(actual, prediction),
            "parity": dict(bundle.manifest.parity),
            "importance": score_importance(task, predictor, actual, columns, params.seed),
            **measure_speed(predictor, columns),
            "size_mb": (bundle.path / MODEL).stat().st_size / 1e6,
        }
        row_us, rate = record["latency_us"]["row"], record["rows_per_second"]
        log.say(f"one row in {row_us:,.0f} µs, {rate:,.0f} rows a second in batches, one thread")
        request, answer = give_example(task, bundle.manifest, frame, prediction)
        record["seconds"] = log.seconds
        evidence = Evidence(
            task, bundle.manifest, record, frame, actual, prediction, contenders,
            read_json(layout.split / "split.json"), read_json(layout.validation / "validation.json"), request, answer,
        )  # fmt: skip
        layout.reports.mkdir(parents=True, exist_ok=True)
        write_plots(evidence, layout.reports / "plots")
        page = write_report(evidence, layout.reports / "report.html")
        write_metrics(record, layout.reports / "metrics.json")
        log.say(f"report of {page.stat().st_size / 1e3:,.0f} kB: {page}")


def read_test(task: Task, layout: Layout) -> pd.DataFrame:
    """The test rows, read once."""
    path = layout.split / "test.parquet"
    if not path.is_file():
        raise TidelineError(f"no test rows at {path}; run `tideline split {task.name}`")
    return pd.read_parquet(path)


def read_target(task: Task, frame: pd.DataFrame) -> np.ndarray:
    """The target of each row: float64 (n,), or class numbers int64 in the order of the task's classes."""
    values = frame[task.target.name]
    if task.problem == "regression":
        return values.to_numpy(dtype=np.float64)
    codes = pd.Index(task.classes).get_indexer(pd.Index(values.astype(str)))
    if (codes < 0).any():
        raise TidelineError(
            f"test rows of {task.name}: {task.target.name} holds {values[codes < 0].iloc[0]!r}, "
            f"which is none of its classes ({', '.join(task.classes)})"
        )
    return codes.astype(np.int64)


def score_baselines(
    task: Task, params: Params, layout: Layout, actual: np.ndarray, columns: Columns
) -> dict[str, dict[str, float]]:
    """The naive and the linear model on the same rows, as exported; those that the run does not train are left out."""
    everything = np.arange(len(actual))
    found = {}
    for name in BASELINES:
        if name in params.models:
            predictor = Predictor.from_graph(layout.export(name) / "model.onnx", task)
            found[name] = score_part(task, actual, predictor.predict(columns), everything)
    return found


def give_example(
    task: Task, manifest: Manifest, frame: pd.DataFrame, prediction: Prediction
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first test row as it would be sent to the server, and what it would answer beside the model's name."""
    row = frame.iloc[0]
    request = {c.name: _plain(row[c.name], c.kind) for c in manifest.columns}
    if task.problem == "regression":
        bands = {f"{b.level:g}": [[float(b.lower[0]), float(b.upper[0])]] for b in prediction.intervals}
        return request, {"predictions": [float(prediction.values[0])], "intervals": bands}
    names, shares = prediction.names, prediction.probabilities[0].tolist()
    sets = {f"{s.level:g}": [[names[i] for i in np.flatnonzero(s.members[0])]] for s in prediction.sets}
    answer = {
        "predictions": prediction.classes[:1],
        "probabilities": [dict(zip(names, shares, strict=True))],
        "sets": sets,
    }
    return request, answer


def write_metrics(record: Mapping[str, Any], path: Path) -> None:
    """metrics.json; a measure that is not defined (NaN) becomes null."""
    fresh = path.with_name(f".{path.name}.part")
    fresh.write_text(json.dumps(_finite(record), indent=2, allow_nan=False) + "\n")
    fresh.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """A record of an earlier stage."""
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise TidelineError(f"no {path}: an earlier stage has not run; run `dvc repro`") from None
    return record


def _plain(value: Any, kind: str) -> Any:
    if pd.isna(value):
        return None
    if kind == "date":
        return str(np.datetime64(int(value), "D"))
    if kind == "category":
        return str(value)
    return int(value) if kind == "integer" else float(value)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
