"""What is measured of a predictor on a set of rows: errors, coverage, importances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tideline import metrics
from tideline.contracts import Task
from tideline.params import Params
from tideline.predictor import Prediction, Predictor

IMPORTANCE_REPEATS, IMPORTANCE_BUDGET, IMPORTANCE_ROWS = 3, 18_000, (300, 1_000)  # budget: rows predicted in all

Columns = Mapping[str, np.ndarray]


def score_test(task: Task, actual: np.ndarray, prediction: Prediction, params: Params) -> dict[str, Any]:
    """All measures on the test rows, with the 95 % bootstrap interval of the first."""
    draws, seed = params.evaluation.bootstrap, params.seed
    if task.problem == "regression":
        values = prediction.values
        squares = np.square(values - actual)
        return {
            "rmse": metrics.rmse(actual, values),
            "rmse_ci95": list(metrics.bootstrap_ci(squares, draws, seed, finish=np.sqrt)),
            "mae": metrics.mae(actual, values),
            "mape": metrics.mape(actual, values),
            "r2": metrics.r2(actual, values),
        }
    shares = prediction.probabilities
    hits = (shares.argmax(axis=1) == actual).astype(np.float64)
    return {
        "accuracy": metrics.accuracy(actual, shares),
        "accuracy_ci95": list(metrics.bootstrap_ci(hits, draws, seed)),
        "macro_f1": metrics.macro_f1(actual, shares),
        "log_loss": metrics.log_loss(actual, shares),
        "roc_auc": metrics.roc_auc(actual, shares),
        "ece": metrics.calibrate(actual, shares).ece,
    }


def score_part(task: Task, actual: np.ndarray, prediction: Prediction, rows: np.ndarray) -> dict[str, float]:
    """The measures of a part of the rows; `actual` is that part's, `prediction` that of all rows."""
    if task.problem == "regression":
        values = prediction.values[rows]
        bias = float(np.mean(values - actual))
        return {"rmse": metrics.rmse(actual, values), "mae": metrics.mae(actual, values), "bias": bias}
    shares = prediction.probabilities[rows]
    return {"accuracy": metrics.accuracy(actual, shares), "log_loss": metrics.log_loss(actual, shares)}


def score_coverage(actual: np.ndarray, prediction: Prediction) -> dict[str, dict[str, float]]:
    """For each level of the intervals (or prediction sets): the share of rows inside, and the mean width (or size)."""
    found = {}
    for band in prediction.intervals:
        share, width = metrics.cover(actual, band.lower, band.upper)
        found[f"{band.level:g}"] = {"coverage": share, "mean_width": width}
    for chosen in prediction.sets:
        share, size = metrics.cover_sets(actual, chosen.members)
        found[f"{chosen.level:g}"] = {"coverage": share, "mean_width": size}
    return found


def score_importance(
    task: Task, predictor: Predictor, actual: np.ndarray, columns: Columns, seed: int
) -> dict[str, dict[str, float]]:
    """Rise of RMSE (or log loss) when a raw column is shuffled; on one seeded sample of the rows."""
    low, high = IMPORTANCE_ROWS
    wanted = min(high, max(low, IMPORTANCE_BUDGET // (len(columns) * IMPORTANCE_REPEATS)))
    rows = np.random.default_rng(seed).permutation(len(actual))[:wanted]
    sample, own = {name: values[rows] for name, values in columns.items()}, actual[rows]

    def loss(changed: Columns) -> float:
        found = predictor.predict(changed)
        if task.problem == "regression":
            return metrics.rmse(own, found.values)
        return metrics.log_loss(own, found.probabilities)

    found = metrics.permutation_importance(loss, sample, IMPORTANCE_REPEATS, seed)
    return {name: {"mean": spread.mean, "std": spread.std} for name, spread in found.items()}


def describe(task: Task, scores: Mapping[str, Any]) -> str:
    """The headline in words."""
    if task.problem == "regression":
        low, high = scores["rmse_ci95"]
        interval = f"(95 % interval {low:,.5g} to {high:,.5g})"
        return f"RMSE {scores['rmse']:,.5g} {task.target.unit} {interval}, R² {scores['r2']:.3f}"
    low, high = scores["accuracy_ci95"]
    interval = f"(95 % interval {low:.4f} to {high:.4f})"
    return f"accuracy {scores['accuracy']:.4f} {interval}, log loss {scores['log_loss']:.4f}"
