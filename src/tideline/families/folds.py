"""Cross-validation over prepared matrices: what tuning and training have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tideline.contracts import BuildContext, ModelSpec, Task, TidelineError
from tideline.layout import Layout
from tideline.params import Params

# TensorFlow's state belongs to the process; all other families fit several folds side by side, on one thread each.
ALONE = frozenset({"tensorflow"})


@dataclass(frozen=True)
class Fold:
    """One fold: float32 matrices, targets and training-row numbers of the rows to fit and to score."""

    X_fit: np.ndarray
    y_fit: np.ndarray
    X_val: np.ndarray
    y_val: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class Matrices:
    """All training rows (X float32 (n, F), y (n,)) and the honest folds."""

    X: np.ndarray
    y: np.ndarray
    folds: tuple[Fold, ...]


def read_matrices(layout: Layout) -> Matrices:
    """Read features/matrices.npz."""
    with np.load(layout.features / "matrices.npz") as file:
        y = file["y"]
        count = sum(name.startswith("X_fit_") for name in file.files)
        folds = tuple(
            Fold(
                file[f"X_fit_{i}"],
                y[file[f"idx_fit_{i}"]],
                file[f"X_val_{i}"],
                y[file[f"idx_val_{i}"]],
                file[f"idx_val_{i}"],
            )
            for i in range(count)
        )
        return Matrices(file["X"], y, folds)


def make_context(task: Task, params: Params, layout: Layout) -> BuildContext:
    """What every family is told about the task and the machine."""
    split = json.loads((layout.split / "split.json").read_text())
    return BuildContext(
        problem=task.problem,
        n_classes=len(task.classes),
        seed=params.seed,
        threads=params.threads,
        device=params.device,
        time_ordered=bool(split["time_ordered"]),
        clip=task.clip,
    )


def predict(estimator: Any, X: np.ndarray, problem: str) -> np.ndarray:
    """What the graph answers too: values (n,) or probabilities (n, n_classes), float64."""
    out = estimator.predict(X) if problem == "regression" else estimator.predict_proba(X)
    return np.asarray(out, np.float64)


def measure(y: np.ndarray, out: np.ndarray) -> float:
    """RMSE of values (n,), or log loss of probabilities (n, n_classes)."""
    if out.ndim == 1:
        return float(np.sqrt(np.mean((out - y) ** 2)))
    return float(-np.log(np.clip(out[np.arange(len(y)), y], 1e-15, 1.0)).mean())


def metric_name(problem: str) -> str:
    """Name of what `measure` gives."""
    return "rmse" if problem == "regression" else "log_loss"


def fit_all(
    spec: ModelSpec,
    settings: Mapping[str, Any],
    context: BuildContext,
    jobs: list[tuple[np.ndarray, np.ndarray]],
) -> Iterator[Any]:
    """Fitted estimators for the jobs (X, y), in their order, as they are done.

    A fitted estimator does not depend on how many run side by side. Fits that spread over a cluster or a group of
    processes take turns: two of them would wait for each other.
    """
    from threadpoolctl import threadpool_limits

    spreads = context.cluster is not None or context.ranks > 1
    if spreads or spec.family in ALONE or context.threads == 1:
        for X, y in jobs:
            yield _fit(spec, settings, context, X, y)
        return
    workers = min(context.threads, len(jobs))
    single = replace(context, threads=context.threads // workers)
    with threadpool_limits(single.threads, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        yield from pool.map(lambda job: _fit(spec, settings, single, *job), jobs)


def _fit(spec: ModelSpec, settings: Mapping[str, Any], context: BuildContext, X: np.ndarray, y: np.ndarray) -> Any:
    from threadpoolctl import threadpool_limits

    try:
        estimator = spec.build(settings, context)
    except (KeyError, TypeError) as error:
        raise TidelineError(f"model {spec.name}: parameters {dict(settings)} do not fit it ({error})") from error
    with threadpool_limits(context.threads, user_api="openmp"):  # OpenMP's limit belongs to the thread
        return estimator.fit(X, y)
