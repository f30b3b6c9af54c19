"""Conformal intervals and prediction sets: fitted on out-of-fold predictions, applied when predicting.

Sources: V. Vovk, "Cross-conformal predictors" (2015): scores of all folds pooled. H. Boström & U. Johansson, "Mondrian
conformal regressors" (2020): one quantile for each bin of the prediction, so that the coverage holds in each of them.
M. Sadinle, J. Lei & L. Wasserman, "Least ambiguous set-valued classifiers with bounded error levels" (2019): sets of
classes, an empty one filled with the likeliest class. Coverage holds for rows that are exchangeable with the training
rows; under drift it does not, which is what the measured coverage on the holdout shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tideline.contracts import Interval, TidelineError

BINS = 5


@dataclass(frozen=True, slots=True)
class Widths:
    """All levels' intervals as arrays, for many look-ups: inner edges (k,) and half-widths (k + 1, levels)."""

    edges: NDArray[np.float64]
    widths: NDArray[np.float64]

    @classmethod
    def of(cls, intervals: Sequence[Interval]) -> Self:
        """The union of all levels' bins."""
        edges = np.unique(np.concatenate([np.array(i.edges, dtype=np.float64) for i in intervals]))
        inside = np.concatenate([[-np.inf], edges])  # a bin holds its lower edge
        columns = [np.array(i.widths)[np.searchsorted(i.edges, inside, side="right")] for i in intervals]
        return cls(edges, np.column_stack(columns))

    def find(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Half-widths (n, levels) of predicted values (n,)."""
        return self.widths[self.edges.searchsorted(values, side="right")]


def fit_intervals(
    predicted: NDArray[np.float64], actual: NDArray[np.float64], levels: Sequence[float], bins: int = BINS
) -> tuple[Interval, ...]:
    """Half-widths for each coverage level, in the target's unit.

    `predicted` and `actual` are (n,), out-of-fold. The bins hold equal numbers of predictions; there are fewer of them
    where rows are too few for the highest level. Raises TidelineError if even one bin has too few rows.
    """
    need = max((rows_needed(level) for level in levels), default=1)
    for count in range(bins, 0, -1):
        edges = np.unique(np.quantile(predicted, np.arange(1, count) / count))
        place = np.searchsorted(edges, predicted, side="right")
        if np.bincount(place, minlength=len(edges) + 1).min() >= need:
            break
    scores = np.abs(actual - predicted)
    return tuple(
        Interval(
            level, tuple(edges.tolist()), tuple(_quantile(scores[place == i], level) for i in range(len(edges) + 1))
        )
        for level in levels
    )


def fit_sets(
    probabilities: NDArray[np.float64], codes: NDArray[np.int64], levels: Sequence[float]
) -> tuple[Interval, ...]:
    """The largest 1 - p of a member of the set, for each coverage level.

    `probabilities` (n, n_classes) are out-of-fold, `codes` (n,) the true class numbers.
    """
    scores = 1.0 - probabilities[np.arange(len(codes)), codes]
    return tuple(Interval(level, (), (_quantile(scores, level),)) for level in levels)


def find_width(interval: Interval, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half-width (n,) of each predicted value (n,)."""
    return Widths.of([interval]).find(values)[:, 0]


def find_members(interval: Interval, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which classes are in each row's set, (n, n_classes); the likeliest class always is."""
    members: NDArray[np.bool_] = 1.0 - probabilities <= interval.widths[0]
    members[np.arange(len(members)), probabilities.argmax(axis=1)] = True
    return members


def rows_needed(level: float) -> int:
    """Fewest rows for which a finite quantile of that coverage exists: the least n with ceil((n + 1) level) <= n."""
    if not 0 < level < 1:
        raise TidelineError(f"params.yaml: evaluation.levels holds {level}; a coverage lies between 0 and 1")
    return math.ceil(level / (1 - level) - 1e-9)


def _quantile(scores: NDArray[np.float64], level: float) -> float:
    n = len(scores)
    rank = math.ceil((n + 1) * level - 1e-9)
    if rank > n:
        raise TidelineError(
            f"a {level:.0%} interval needs {rows_needed(level)} validated rows, there are {n}; "
            "lower evaluation.levels in params.yaml or bring more rows"
        )
    return float(np.partition(scores, rank - 1)[rank - 1])
