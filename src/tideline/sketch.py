"""The reference sketch: what the training rows looked like, small enough to travel with the model (for drift)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tideline.contracts import Column, Manifest, Task

SAMPLE, QUANTILES, BINS = 500, 101, 20


def build_sketch(
    task: Task,
    columns: Mapping[str, NDArray[np.generic]],
    target: NDArray[np.generic],
    predictions: NDArray[np.float64],
    seed: int,
) -> dict[str, Any]:
    """Sketch n training rows as JSON-ready values.

    `columns` as `predictor.columns_from_frame` gives them, `target` (n,) float64 or class numbers, `predictions`
    out-of-fold: (m,) values or (m, n_classes) probabilities. Keys: rows; columns.<name>, target and prediction (see
    `sketch_numbers`, `sketch_categories`; for classes also prediction_confidence); sample.<name>: the raw values of a
    seeded sample of rows (null = missing).
    """
    rows = len(target)
    chosen = np.sort(np.random.default_rng(seed).choice(rows, size=min(SAMPLE, rows), replace=False))
    sketch: dict[str, Any] = {
        "rows": rows,
        "columns": {c.name: sketch_column(c, columns[c.name]) for c in task.columns},
    }
    if task.problem == "regression":
        sketch["target"] = sketch_numbers(target.astype(np.float64))
        sketch["prediction"] = sketch_numbers(predictions)
    else:
        sketch["target"] = _sketch_codes(target, task.classes)
        sketch["prediction"] = _sketch_codes(predictions.argmax(axis=1), task.classes)
        sketch["prediction_confidence"] = sketch_numbers(predictions.max(axis=1))
    sketch["sample"] = {c.name: _sample(c, columns[c.name][chosen]) for c in task.columns}
    return sketch


def sketch_column(column: Column, values: NDArray[np.generic]) -> dict[str, Any]:
    """Sketch one raw column (n,) by its kind."""
    if column.is_text:
        return sketch_categories(values)
    return sketch_numbers(values.astype(np.float64))


def sketch_numbers(values: NDArray[np.float64]) -> dict[str, Any]:
    """rows, missing (share), mean, std, quantiles (101, from minimum to maximum), and a histogram.

    The histogram holds shares of the present values in the bins that inner `edges` cut, at twentieths of the
    distribution; a value on an edge falls into the bin above it. Of 20 different values or fewer each has a bin of its
    own, with one for what lies below and above all of them. means, deviations: of the values in each bin, null where it
    is empty. All but rows and missing are null or empty if no value is present.
    """
    present = values[~np.isnan(values)]
    summary: dict[str, Any] = {"rows": len(values), "missing": 1.0 - len(present) / len(values) if len(values) else 0.0}
    if not len(present):
        empty: dict[str, Any] = {"quantiles": [], "edges": [], "histogram": [], "means": [], "deviations": []}
        return {**summary, "mean": None, "std": None, **empty}
    edges = cut_bins(present)
    means, deviations = describe_bins(present, edges)
    return {
        **summary,
        "mean": float(present.mean()),
        "std": float(present.std()),
        "quantiles": np.quantile(present, np.linspace(0, 1, QUANTILES)).tolist(),
        "edges": edges.tolist(),
        "histogram": share_numbers(present, edges).tolist(),
        "means": means,
        "deviations": deviations,
    }


def cut_bins(present: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inner edges of the bins of at least one value (n,)."""
    distinct = np.unique(present)
    if len(distinct) <= BINS:
        return np.append(distinct, np.nextafter(distinct[-1], np.inf))
    return np.unique(np.quantile(present, np.arange(1, BINS) / BINS))


def describe_bins(
    values: NDArray[np.float64], edges: NDArray[np.float64]
) -> tuple[list[float | None], list[float | None]]:
    """Mean and standard deviation of the values (n,) in each bin; None where it is empty."""
    place = np.searchsorted(edges, values, side="right")
    parts = [values[place == i] for i in range(len(edges) + 1)]
    return [float(p.mean()) if len(p) else None for p in parts], [float(p.std()) if len(p) else None for p in parts]


def share_numbers(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares (len(edges) + 1,) of values in the bins of a sketch."""
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return counts / max(1, len(values))


def sketch_categories(values: NDArray[np.generic]) -> dict[str, Any]:
    """rows, missing (share), and the share of each category among the present values, by name."""
    names, counts = np.unique(np.asarray(values, dtype=str), return_counts=True)
    table = {str(name): int(count) for name, count in zip(names, counts, strict=True)}
    missing = table.pop("", 0)
    present = sum(table.values())
    return {
        "rows": len(values),
        "missing": missing / len(values) if len(values) else 0.0,
        "shares": {name: count / present for name, count in table.items()},
    }


def sample_columns(contract: Task | Manifest, reference: Mapping[str, Any]) -> dict[str, NDArray[np.generic]]:
    """The sketch's sample of raw rows, as `Predictor.predict` takes them."""
    return {
        c.name: np.array(["" if v is None else v for v in reference["sample"][c.name]], dtype=object)
        if c.is_text
        else np.array([np.nan if v is None else v for v in reference["sample"][c.name]], dtype=np.float64)
        for c in contract.columns
    }


def _sketch_codes(codes: NDArray[np.generic], names: tuple[str, ...]) -> dict[str, Any]:
    counts = np.bincount(codes.astype(np.int64), minlength=len(names))
    return {
        "rows": len(codes),
        "missing": 0.0,
        "shares": {name: float(count / len(codes)) for name, count in zip(names, counts, strict=True)},
    }


def _sample(column: Column, values: NDArray[np.generic]) -> list[Any]:
    if column.is_text:
        return [value or None for value in values.tolist()]
    return [None if value != value else value for value in values.tolist()]
