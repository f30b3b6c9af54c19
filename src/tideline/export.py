"""Stage: write a model as one graph from raw columns, and hold it against its framework."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tideline import catalog
from tideline.contracts import Task
from tideline.edge_rows import make_edge_rows
from tideline.families.blend import Blend, blend_nets, merge_nets
from tideline.families.folds import make_context, predict
from tideline.feature_graph import make_feed
from tideline.features import select_columns
from tideline.files import write_file, write_json
from tideline.layout import Layout
from tideline.params import Params
from tideline.parity import Comparison, judge, make_threshold_rows, open_session, run_chunks
from tideline.progress import Log, stage

if TYPE_CHECKING:
    import onnx

JOINED_ROWS = 512  # of the training rows that also go through the joined graph


def export(task: Task, params: Params, layout: Layout, model: str) -> None:
    """Write export/<model>: net.onnx (from X), model.onnx (from raw columns) and parity.json.

    A graph that disagrees with its framework does not stop the stage: parity.json says so with the worst rows,
    and the model is out of the contest. Raises TidelineError if the wanted provider is not to be had.
    """
    import onnx

    with stage("export", task.name, model) as log:
        estimator, net = _load_blend(task, layout) if model == "blend" else _load_model(task, params, layout, model)
        merged = merge_nets(onnx.load(layout.features / "preprocess.onnx"), net)
        folder = layout.export(model)
        write_file(folder / "net.onnx", lambda path: _save(net, path))
        write_file(folder / "model.onnx", lambda path: _save(merged, path))
        verdict = check_parity(task, params, layout, estimator, net, merged)
        write_json(folder / "parity.json", verdict)
        _say_verdict(log, verdict, folder)


def _load_model(task: Task, params: Params, layout: Layout, model: str) -> tuple[Any, onnx.ModelProto]:
    import joblib

    spec = catalog.get_model(model)
    estimator = joblib.load(layout.train(model) / "model.joblib")
    features = json.loads((layout.features / "features.json").read_text())
    net = spec.to_onnx(estimator, len(features["names"]), make_context(task, params, layout))
    return estimator, net


def _load_blend(task: Task, layout: Layout) -> tuple[Any, onnx.ModelProto]:
    import joblib
    import onnx

    weights: Mapping[str, float] = json.loads((layout.train("blend") / "blend.json").read_text())["weights"]
    members = {name: joblib.load(layout.train(name) / "model.joblib") for name in weights}
    nets = {name: onnx.load(layout.export(name) / "net.onnx") for name in weights}
    return Blend(members, weights, task.problem), blend_nets(nets, weights, task.problem)


def check_parity(
    task: Task, params: Params, layout: Layout, estimator: Any, net: onnx.ModelProto, merged: onnx.ModelProto
) -> dict[str, Any]:
    """Compare on every training row, on raw edge rows, and around tree thresholds.

    The net starts from the graph's own X, which the features stage computed once for all models; that the joined graph
    says the same from raw columns is checked on the edge rows and on every row of a sample.
    """
    import pandas as pd

    limits, threads = params.export, params.threads
    with np.load(layout.features / "transformed.npz") as file:
        X, of_graph, edge_names = file["framework"], file["graph"], [str(name) for name in file["edges"]]
    frame = pd.read_parquet(layout.split / "train.parquet")
    n = len(frame)
    names = [*(f"training row {i}" for i in range(n)), *edge_names]
    answers = predict(estimator, X, task.problem)
    inner = open_session(net, limits.provider, threads)
    parts = [Comparison(names, answers, run_chunks(inner, {"X": of_graph}, task.problem))]
    sample = np.arange(0, n, max(1, n // JOINED_ROWS))
    chosen = np.concatenate([sample, np.arange(n, len(names))])
    raw = pd.concat(
        [select_columns(task, rows) for rows in (frame.iloc[sample], make_edge_rows(task, frame)[1])], ignore_index=True
    )
    session = open_session(merged, limits.provider, threads)
    joined = run_chunks(session, make_feed(task, raw), task.problem)
    parts.append(Comparison([f"{names[i]}, from raw columns" for i in chosen], answers[chosen], joined))
    near, moved = make_threshold_rows(net, X[:n], params.seed)
    if near:
        parts.append(
            Comparison(near, predict(estimator, moved, task.problem), run_chunks(inner, {"X": moved}, task.problem))
        )
    return {
        **judge(parts, task.problem, limits),
        "rows": n,
        "edge_rows": len(edge_names) + len(near),
        "provider": session.get_providers()[0],
    }


def _say_verdict(log: Log, verdict: Mapping[str, Any], folder: Path) -> None:
    size = (folder / "model.onnx").stat().st_size / 1e6
    word = "passed" if verdict["passed"] else f"FAILED on {verdict['failed_rows']} rows"
    rows = f"{verdict['rows']:,} rows and {verdict['edge_rows']:,} at the edges"
    log.say(f"parity {word}: largest relative difference {verdict['max_rel']} over {rows}; {size:.1f} MB: {folder}")
    if not verdict["passed"]:
        for row in verdict["worst"]:
            log.say(f"  {row['row']}: framework {row['framework']}, onnx {row['onnx']}")


def _save(model: Any, path: Path) -> None:
    path.write_bytes(model.SerializeToString(deterministic=True))
