"""Which column moved a prediction by how much: sampled Shapley values against a background of real rows.

The worth of a set S of columns is the mean prediction of the background's rows when S is taken from the explained row
and the rest is theirs: "interventional" or marginal Shapley values (Janzing, Minorics & Blöbaum 2020). A random order
of the columns leads from a background row to the explained one, and each column is given the difference that its step
makes (Castro, Gómez & Tejada 2009). Each order is walked forwards and backwards: such a pair is exact for interactions
of two columns (Mitchell, Cooper, Frank & Holmes 2022). Differences telescope, so attributions and base sum to the
prediction up to rounding, however few pairs are drawn.

The stated errors follow the design of the draw, two-stage sampling (Cochran, "Sampling Techniques", 1977, chapter 10):
background rows without replacement, then pairs within a row. Some rows are drawn twice, which shows how much the
pairs of one row differ; what is left of the difference between rows vanishes as all of them are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tideline.contracts import TidelineError

Columns = Mapping[str, NDArray[Any]]
Predict = Callable[[Columns], NDArray[np.float64]]

MIN_SAMPLES = 12
_REPEATS = 30  # of the pairs, or a sixth if that is more, start from a row that has one already
_POINTS = 4_096  # rows that are predicted at once: bounds the memory, and the time until `predict` is called again


@dataclass(frozen=True, slots=True)
class Attribution:
    """One row explained, in the unit of what was predicted.

    values, errors: (columns,), each column's share of `prediction - base`, and its standard error. base: mean
    prediction of the `background_rows` that were drawn; `base_error` is its standard error as the mean of the whole
    background, 0 if all were drawn. samples: pairs of orders.
    """

    values: NDArray[np.float64]
    errors: NDArray[np.float64]
    prediction: float
    base: float
    base_error: float
    samples: int
    background_rows: int

    @property
    def gap(self) -> float:
        """What base and values lack to the prediction: rounding alone."""
        return self.prediction - self.base - float(self.values.sum())


def attribute_row(predict: Predict, row: Columns, background: Columns, samples: int, seed: int = 0) -> Attribution:
    """Attribute the prediction of `row` (columns of length 1) to its columns.

    `predict` takes columns (n,) and gives (n,). `background` holds the same columns (rows,). `samples` is the number of
    pairs; each costs 2 (columns - 1) predictions. The same arguments give the same answer. Raises TidelineError if the
    columns do not fit together, or for less than MIN_SAMPLES samples.
    """
    total = _check(row, background, samples)
    names, width = list(row), len(row)
    rng = np.random.default_rng(seed)
    repeats = max(samples // 6, min(samples // 2, _REPEATS))
    drawn = rng.permutation(total)[: min(total, samples - repeats)]
    count = len(drawn)
    ranks = rng.permuted(np.tile(np.arange(width), (samples, 1)), axis=1)  # at which step each column is taken
    place = np.arange(samples) % count  # which of the drawn rows a pair starts from
    prediction = float(predict(row)[0])
    starts = predict({name: background[name][drawn] for name in names})
    each = np.empty((samples, width))
    step = max(1, _POINTS // max(1, 2 * (width - 1)))
    for low in range(0, samples, step):
        part = slice(low, low + step)
        inner = _predict_inside(predict, row, background, drawn[place[part]], ranks[part])
        each[part] = _credit(starts[place[part]], inner, prediction, ranks[part])
    values, errors = _estimate(each, place, count, total)
    spread = float(starts.var(ddof=1)) if count < total else 0.0
    base_error = float(np.sqrt((1 - count / total) * spread / count))
    return Attribution(values, errors, prediction, float(starts.mean()), base_error, samples, count)


def _predict_inside(
    predict: Predict, row: Columns, background: Columns, start: NDArray[np.int64], ranks: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Predictions (pairs, 2, columns - 1) between the two ends of each chain, forwards and backwards."""
    pairs, width = ranks.shape
    if width == 1:
        return np.empty((pairs, 2, 0))
    both = np.stack([ranks, width - 1 - ranks], axis=1)[:, :, None, :]
    taken = (both < np.arange(1, width)[:, None]).reshape(-1, width)  # (pairs * 2 * steps, columns)
    origin = np.repeat(start, 2 * (width - 1))
    points = {name: np.where(taken[:, j], row[name], background[name][origin]) for j, name in enumerate(row)}
    answers: NDArray[np.float64] = predict(points).reshape(pairs, 2, width - 1)
    return answers


def _credit(
    starts: NDArray[np.float64], inner: NDArray[np.float64], end: float, ranks: NDArray[np.int64]
) -> NDArray[np.float64]:
    """What each pair credits each column with, (pairs, columns): the mean of both directions' steps."""
    pairs, width = ranks.shape
    first = np.broadcast_to(starts[:, None, None], (pairs, 2, 1))
    steps = np.diff(np.concatenate([first, inner, np.full((pairs, 2, 1), end)], axis=2), axis=2)
    backwards = np.take_along_axis(steps[:, 1], width - 1 - ranks, axis=1)
    credit: NDArray[np.float64] = (np.take_along_axis(steps[:, 0], ranks, axis=1) + backwards) / 2
    return credit


def _estimate(
    each: NDArray[np.float64], place: NDArray[np.int64], count: int, total: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over the drawn rows, each with the mean of its own pairs, and its standard error; (columns,) both."""
    times = np.bincount(place, minlength=count)
    own = np.zeros((count, each.shape[1]))
    np.add.at(own, place, each)
    own /= times[:, None]
    share = count / total
    within = ((each - own[place]) ** 2).sum(axis=0) / (len(place) - count)
    variance = share * within * (1 / times).sum() / count**2
    if count < total:
        variance = variance + (1 - share) * own.var(axis=0, ddof=1) / count
    return own.mean(axis=0), np.sqrt(variance)


def _check(row: Columns, background: Columns, samples: int) -> int:
    """The number of the background's rows."""
    if samples < MIN_SAMPLES:
        raise TidelineError(f"{samples} samples are too few to know their error; take at least {MIN_SAMPLES}")
    if not row or row.keys() != background.keys():
        raise TidelineError(f"the row has columns {sorted(row)}, the background {sorted(background)}; give the same")
    wrong = {name: len(values) for name, values in row.items() if len(values) != 1}
    lengths = {len(values) for values in background.values()}
    if wrong or len(lengths) != 1 or lengths == {0}:
        raise TidelineError(f"expected one row and a background of at least one, found {wrong or sorted(lengths)}")
    return lengths.pop()
