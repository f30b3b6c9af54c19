"""Measures of how good predictions are: pure functions of arrays, checked against scikit-learn.

Shapes: `actual` and `predicted` are (n,); `codes` are class numbers (n,) int64; `probabilities` are (n, C).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)  # served probabilities are float32
_ROWS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Calibration:
    """Reliability of the most likely class: how often it was right, by how sure the model was.

    `count`, `confidence`, `accuracy` have one entry a bin (NaN where a bin is empty); `ece` is the expected
    calibration error, the mean of |accuracy - confidence| weighted by count (Naeini et al. 2015).
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    ece: float


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over repeats."""

    mean: float
    std: float


def rmse(actual: np.ndarray, predicted: np.ndarray) -> float:
    """Root of the mean squared error, in units of the target."""
    return float(np.sqrt(np.mean(np.square(_errors(actual, predicted)))))


def mae(actual: np.ndarray, predicted: np.ndarray) -> float:
    """Mean absolute error, in units of the target."""
    return float(np.mean(np.abs(_errors(actual, predicted))))


def mape(actual: np.ndarray, predicted: np.ndarray) -> float:
    """Mean of |error| / |actual|, a share; NaN if an actual value is 0, where it is not defined."""
    if np.any(actual == 0):
        return float("nan")
    return float(np.mean(np.abs(_errors(actual, predicted) / actual)))


def r2(actual: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the variance explained; NaN if the target does not vary."""
    left = np.sum(np.square(_errors(actual, predicted)))
    total = np.sum(np.square(actual - np.mean(actual)))
    return float(1 - left / total) if total > 0 else float("nan")


def accuracy(codes: np.ndarray, probabilities: np.ndarray) -> float:
    """Share of rows whose most likely class is the true one."""
    return float(np.mean(_hits(codes, probabilities)))


def confusion(codes: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Counts (C, C) int64: rows are true classes, columns the most likely ones."""
    _hits(codes, probabilities)
    n = probabilities.shape[1]
    return np.bincount(codes * n + probabilities.argmax(axis=1), minlength=n * n).reshape(n, n)


def macro_f1(codes: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean over classes of F1; a class that is neither true nor predicted anywhere is left out."""
    table = confusion(codes, probabilities)
    both = table.sum(axis=0) + table.sum(axis=1)
    return float(np.mean(2 * np.diag(table)[both > 0] / both[both > 0]))


def log_loss(codes: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of -log(probability of the true class), in nats; probabilities are held above float32's epsilon."""
    return float(np.mean(log_losses(codes, probabilities)))


def log_losses(codes: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """-log(probability of the true class) of each row, in nats (n,)."""
    own = probabilities.astype(np.float64)[np.arange(len(codes)), codes]
    return np.asarray(-np.log(np.clip(own, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)))


def roc_auc(codes: np.ndarray, probabilities: np.ndarray) -> float:
    """Area under the ROC curve, each class against the rest, mean over the classes that occur beside others.

    By ranks (Mann-Whitney, ties count half). NaN if only one class occurs.
    """
    from scipy.stats import rankdata

    areas = []
    for number in range(probabilities.shape[1]):
        own = codes == number
        positives, negatives = int(own.sum()), int((~own).sum())
        if positives and negatives:
            ranks = rankdata(probabilities[:, number])[own].sum()
            areas.append((ranks - positives * (positives + 1) / 2) / (positives * negatives))
    return float(np.mean(areas)) if areas else float("nan")


def calibrate(codes: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> Calibration:
    """Reliability in `bins` bins of equal width of the largest probability."""
    hits, sure = _hits(codes, probabilities), probabilities.max(axis=1).astype(np.float64)
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.digitize(sure, edges[1:-1], right=True), 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(place, weights=sure, minlength=bins) / count
        right = np.bincount(place, weights=hits, minlength=bins) / count
    filled = count > 0
    ece = float(np.sum(count[filled] * np.abs(right[filled] - confidence[filled])) / count.sum())
    return Calibration(edges, count, confidence, right, ece)


def bootstrap_ci(
    losses: np.ndarray,
    draws: int,
    seed: int,
    level: float = 0.95,
    finish: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[float, float]:
    """Percentile interval of `finish(mean of losses)` over `draws` resamples of the rows with replacement.

    `losses` is (n,): squared errors with finish=np.sqrt give the interval of the RMSE, hits that of the
    accuracy. Seeded. Source: Efron & Tibshirani 1993, chapter 13.
    """
    if draws < 1 or not len(losses):
        raise ValueError(f"a bootstrap needs draws and rows, got {draws} draws of {len(losses)} rows")
    generator, n = np.random.default_rng(seed), len(losses)
    values = np.asarray(losses, dtype=np.float64)
    at_once = max(1, _ROWS_AT_ONCE // n)
    means = np.concatenate([
        values[generator.integers(0, n, size=(min(at_once, draws - start), n), dtype=np.int32)].mean(axis=1)
        for start in range(0, draws, at_once)
    ])  # fmt: skip
    low, high = np.quantile(means if finish is None else finish(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def cover(actual: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> tuple[float, float]:
    """Share of actual values inside their interval, ends included, and the mean width of the intervals."""
    return float(np.mean((lower <= actual) & (actual <= upper))), float(np.mean(upper - lower))


def cover_sets(codes: np.ndarray, members: np.ndarray) -> tuple[float, float]:
    """Share of rows whose class is in its prediction set, and the mean size of the sets. `members` is bool (n, C)."""
    return float(np.mean(members[np.arange(len(codes)), codes])), float(np.mean(members.sum(axis=1)))


def permutation_importance(
    loss: Callable[[Mapping[str, np.ndarray]], float],
    columns: Mapping[str, np.ndarray],
    repeats: int,
    seed: int,
) -> dict[str, Spread]:
    """How much `loss` rises when one column is shuffled, mean and deviation over `repeats`; largest first.

    Source: Breiman 2001; Fisher, Rudin & Dominici 2019. Columns that carry the same information share it:
    each alone then looks unimportant.
    """
    generator, base = np.random.default_rng(seed), loss(columns)
    found = {}
    for name, values in columns.items():
        rises = [loss({**columns, name: values[generator.permutation(len(values))]}) - base for _ in range(repeats)]
        found[name] = Spread(float(np.mean(rises)), float(np.std(rises)))
    return dict(sorted(found.items(), key=lambda item: -item[1].mean))


def _errors(actual: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    if actual.shape != predicted.shape or actual.ndim != 1 or not len(actual):
        raise ValueError(f"actual and predicted must be (n,) with n > 0, got {actual.shape} and {predicted.shape}")
    return np.asarray(predicted, dtype=np.float64) - np.asarray(actual, dtype=np.float64)


def _hits(codes: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    if probabilities.ndim != 2 or codes.shape != probabilities.shape[:1] or not len(codes):
        raise ValueError(f"codes must be (n,) and probabilities (n, C), got {codes.shape} and {probabilities.shape}")
    return np.asarray(probabilities.argmax(axis=1) == codes)
