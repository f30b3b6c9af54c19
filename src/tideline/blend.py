"""Stage: weigh the best models into one; the weights are fitted on out-of-fold predictions alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from tideline.contracts import Problem, Task, TidelineError
from tideline.families.folds import measure, metric_name
from tideline.files import write_file, write_json
from tideline.layout import Layout
from tideline.params import Params
from tideline.progress import stage

FAINT = 0.05  # a member with a smaller weight costs time and brings nothing


def blend(task: Task, params: Params, layout: Layout) -> None:
    """Write train/blend: blend.json (weights), oof.npy and train.json.

    The blend's own scores are cross-fitted: a fold's rows are answered with weights, and members, that were
    chosen without that fold. Raises TidelineError if there is nothing to blend.
    """
    with stage("blend", task.name) as log:
        names = [name for name in params.models if name in params.blend.candidates]
        if not names:
            raise TidelineError(
                f"blend: none of blend.candidates ({', '.join(params.blend.candidates)}) is in models; mend params.yaml"
            )
        with np.load(layout.features / "matrices.npz") as file:
            y = file["y"]
            folds = [
                file[key] for key in (f"idx_val_{i}" for i in range(sum(k.startswith("idx_val_") for k in file.files)))
            ]
        outs = np.stack([np.load(layout.train(name) / "oof.npy") for name in names])  # (models, n[, classes])
        scored = np.sort(np.concatenate(folds))
        if np.isnan(outs[:, scored]).any():
            raise TidelineError("blend: an oof.npy has gaps in rows that the folds score; train the models again")
        weights = fit_weights(outs[:, scored], y[scored], task.problem, params.blend.members)
        oof, scores = np.full_like(outs[0], np.nan), []
        for rows in folds:
            others = np.setdiff1d(scored, rows)
            inner = (
                fit_weights(outs[:, others], y[others], task.problem, params.blend.members) if len(others) else weights
            )
            oof[rows] = np.tensordot(inner, outs[:, rows], axes=1)
            scores.append(measure(y[rows], oof[rows]))
        chosen = {name: float(w) for name, w in zip(names, weights, strict=True) if w > 0}
        records = {name: json.loads((layout.train(name) / "train.json").read_text()) for name in chosen}
        devices = sorted({record["device"] for record in records.values()})
        record: dict[str, Any] = {
            "model": "blend",
            "family": "blend",
            "device": "+".join(devices),
            "params": {"weights": chosen},
            "metric": metric_name(task.problem),
            "scores": scores,
            "mean": float(np.mean(scores)),
            "std": float(np.std(scores)),
            "seconds": round(log.seconds, 3),
            "curve": None,
        }
        if task.problem == "classification":
            record["accuracy"] = float((oof[scored].argmax(axis=1) == y[scored]).mean())
        folder = layout.train("blend")
        write_json(folder / "blend.json", {"weights": chosen})
        write_file(folder / "oof.npy", lambda path: _save(path, oof))
        write_json(folder / "train.json", record)
        parts = ", ".join(f"{name} {weight:.3f}" for name, weight in sorted(chosen.items(), key=lambda item: -item[1]))
        log.say(f"{record['metric']} {record['mean']:,.5g} +- {record['std']:,.3g}; weights: {parts}: {folder}")


def fit_weights(outs: np.ndarray, y: np.ndarray, problem: Problem, members: int) -> np.ndarray:
    """Weights (models,), none negative, of sum one, at most `members` of them above zero.

    They minimise the squared error of values `outs` (models, n), or the log loss of probabilities
    (models, n, classes); both are convex in the weights.
    """
    objective = _squared_error(outs, y) if problem == "regression" else _log_loss(outs, y)
    kept = np.arange(len(outs))
    while True:
        weights = _minimise(objective, kept, len(outs))
        order = kept[np.argsort(-weights[kept], kind="stable")][: max(1, members)]
        smaller = np.sort(order[weights[order] >= FAINT])
        if len(smaller) == len(kept):
            return weights
        kept = smaller


Objective = Callable[[np.ndarray], tuple[float, np.ndarray]]


def _squared_error(outs: np.ndarray, y: np.ndarray) -> Objective:
    errors = (outs - y) / (np.std(y) or 1.0)
    products = errors @ errors.T / len(y)

    def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
        return float(w @ products @ w), 2.0 * products @ w

    return objective


def _log_loss(outs: np.ndarray, y: np.ndarray) -> Objective:
    hits = outs[:, np.arange(len(y)), y]

    def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = np.maximum(w @ hits, 1e-15)
        return float(-np.log(mixed).mean()), -(hits / mixed).mean(axis=1)

    return objective


def _minimise(objective: Objective, kept: np.ndarray, n: int) -> np.ndarray:
    """The best weights that are zero outside `kept`."""
    from scipy.optimize import minimize

    def inner(w: np.ndarray) -> tuple[float, np.ndarray]:
        full = np.zeros(n)
        full[kept] = w
        value, slope = objective(full)
        return value, slope[kept]

    found = minimize(
        inner,
        np.full(len(kept), 1.0 / len(kept)),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(kept),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    if not found.success:
        raise TidelineError(f"blend: the weights could not be fitted ({found.message}); drop a model from params.yaml")
    weights = np.zeros(n)
    weights[kept] = np.maximum(found.x, 0.0) / np.maximum(found.x, 0.0).sum()
    return weights


def _save(path: Any, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)
