"""Stage: cross-validate a model on the prepared folds, then fit it on all training rows."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tideline import catalog
from tideline.cluster import open_cluster
from tideline.contracts import ModelSpec, Task, TidelineError
from tideline.families.folds import (
    Matrices,
    fit_all,
    make_context,
    measure,
    metric_name,
    predict,
    read_matrices,
)
from tideline.families.torch_group import Group, in_group, join_group
from tideline.files import write_file, write_json
from tideline.layout import Layout
from tideline.params import Params
from tideline.progress import Log, stage


def train(task: Task, params: Params, layout: Layout, model: str) -> None:
    """Write train/<model>: model.joblib, oof.npy (NaN where a row was never scored) and train.json.

    Scores are RMSE in the target's units, or log loss with the accuracy beside it, one for each fold.
    """
    import joblib

    spec = catalog.get_model(model)
    with (
        _gather(spec, params) as group,
        stage("train", task.name, model) as log,
        open_cluster(params) if spec.spreads == "dask" else nullcontext() as client,
    ):
        best = json.loads((layout.tune(model) / "best.json").read_text())
        matrices = read_matrices(layout)
        context = make_context(task, params, layout)
        threads = max(1, params.threads // group.here)
        context = replace(context, threads=threads, cluster=client, rank=group.rank, ranks=group.size)
        folds = matrices.folds
        jobs = [(matrices.X, matrices.y), *((fold.X_fit, fold.y_fit) for fold in folds)]
        oof = empty_oof(task, matrices)
        scores: list[float] = []
        curve: Any = None
        final: Any = None
        with log.bar(len(jobs), f"{model}: fits") as bar:
            for number, estimator in enumerate(fit_all(spec, best["params"], context, jobs)):
                if number == 0:
                    final = estimator
                else:
                    fold = folds[number - 1]
                    oof[fold.rows] = predict(estimator, fold.X_val, task.problem)
                    scores.append(measure(fold.y_val, oof[fold.rows]))
                    if number == 1:
                        curve = _trace(estimator, fold, task.problem)
                bar.update(1)
        if group.rank > 0:
            return
        folder = layout.train(model)
        write_file(folder / "model.joblib", lambda path: joblib.dump(final, path))
        record = {
            "model": model,
            "family": spec.family,
            "device": final.device_,
            "params": dict(best["params"]),
            "rows": final.rows_,
            **summarise(task, matrices.y, oof, scores),
            "seconds": round(log.seconds, 3),
            "curve": curve,
        }
        write_results(folder, oof, record)
        say_results(log, record, folder)


def _gather(spec: ModelSpec, params: Params) -> AbstractContextManager[Group]:
    """The processes that fit this model. Raises TidelineError if they are not those that were asked for."""
    if spec.spreads == "torchrun":
        if params.processes > 1 and not in_group():
            raise TidelineError(f"{spec.name}: {params.processes} processes are asked for; run `tideline train`")
        return join_group(params.device)
    if in_group():
        raise TidelineError(f"{spec.name} learns in one process; run it without torchrun")
    return nullcontext(Group())


def empty_oof(task: Task, matrices: Matrices) -> np.ndarray:
    """NaN for every training row: (n,), or (n, n_classes)."""
    n = len(matrices.y)
    return np.full(n if task.problem == "regression" else (n, len(task.classes)), np.nan)


def summarise(task: Task, y: np.ndarray, oof: np.ndarray, scores: list[float]) -> dict[str, Any]:
    """Fold scores, their mean and deviation, and for classes the accuracy over all scored rows."""
    summary: dict[str, Any] = {
        "metric": metric_name(task.problem),
        "scores": scores,
        "mean": float(np.mean(scores)),
        "std": float(np.std(scores)),
    }
    if oof.ndim == 2:
        scored = ~np.isnan(oof[:, 0])
        summary["accuracy"] = float((oof[scored].argmax(axis=1) == y[scored]).mean())
    return summary


def write_results(folder: Path, oof: np.ndarray, record: dict[str, Any]) -> None:
    """oof.npy and train.json."""
    write_file(folder / "oof.npy", lambda path: _save(path, oof))
    write_json(folder / "train.json", record)


def say_results(log: Log, record: dict[str, Any], folder: Path) -> None:
    """What a person wants to know of a training."""
    accuracy = f", accuracy {record['accuracy']:.4f}" if "accuracy" in record else ""
    log.say(
        f"{record['metric']} {record['mean']:,.5g} +- {record['std']:,.3g} over {len(record['scores'])} folds"
        f"{accuracy}; on {record['device']}: {folder}"
    )


def _trace(estimator: Any, fold: Any, problem: str) -> Any:
    """The learning curve of the first fold: the family's own, or its stages scored on both parts."""
    if estimator.curve_ is not None:
        return estimator.curve_
    if not estimator.has_stages:
        return None
    rows = slice(None, None, max(1, len(fold.X_fit) // len(fold.X_val)))
    return {
        "train": [measure(fold.y_fit[rows], out) for out in estimator.stages(fold.X_fit[rows])],
        "validation": [measure(fold.y_val, out) for out in estimator.stages(fold.X_val)],
    }


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)
