"""The bins of one column, as training cut them, and counting into them chunk by chunk, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tideline.binned import Binned
from tideline.contracts import Column, Kind

TOLD_NAMES = 100  # unknown categories that are remembered by name


@dataclass(frozen=True)
class Axis:
    """Bins of one column: of numbers those between inner `edges` (ascending), of categories one for each of `names`.

    low, high: beyond them a number counts as outside (None: no limit).
    """

    kind: Kind
    edges: NDArray[np.float64]
    names: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def bins(self) -> int:
        """How many there are."""
        return len(self.names) if self.kind == "category" else len(self.edges) + 1


def make_axis(kind: Kind, sketch: Mapping[str, Any], column: Column | None = None) -> Axis:
    """The bins of a column's sketch (see sketch.py). The limits are the extremes of training; for a date, which moves
    on with time, those of the contract."""
    if kind == "category":
        return Axis(kind, np.empty(0), tuple(sketch["shares"]))
    quantiles = sketch["quantiles"]
    low, high = (quantiles[0], quantiles[-1]) if quantiles else (np.inf, -np.inf)
    if kind == "date":
        low, high = (None, None) if column is None else (column.minimum, column.maximum)
    return Axis(kind, np.array(sketch["edges"], dtype=np.float64), (), low, high)


def read_reference(axis: Axis, sketch: Mapping[str, Any]) -> Binned:
    """A column's sketch as counts in the bins of its axis."""
    rows = int(sketch["rows"])
    missing = round(sketch["missing"] * rows)
    present = rows - missing
    if axis.kind == "category":
        return Binned(rows, missing, np.array(list(sketch["shares"].values()), dtype=np.float64) * present)
    shares = np.array(sketch["histogram"] or np.zeros(axis.bins), dtype=np.float64)
    means, deviations = (
        np.array([0.0 if v is None else v for v in sketch.get(key, [])], dtype=np.float64)
        for key in ("means", "deviations")
    )
    return Binned(rows, missing, shares * present, means, deviations, deviation=sketch["std"] or 0.0)


class Counter:
    """Counts chunks of one column into the bins of its axis."""

    def __init__(self, axis: Axis) -> None:
        self.axis = axis
        self.unknown: dict[str, int] = {}  # by name, as long as there are few names
        self._rows = self._missing = self._strange = self._outside = 0
        self._counts, self._sums, self._squares = (np.zeros(axis.bins) for _ in range(3))
        self._places = {name: i for i, name in enumerate(axis.names)}

    def add(self, values: NDArray[np.generic]) -> None:
        """Values (n,) as `Predictor.predict` takes them: float64 (NaN = missing), or strings ("" = missing)."""
        self._rows += len(values)
        if self.axis.kind == "category":
            self._add_names(values)
        else:
            self._add_numbers(np.asarray(values, dtype=np.float64))

    def _add_names(self, values: NDArray[np.generic]) -> None:
        import pyarrow as pa

        coded = pa.array(values, pa.string(), from_pandas=False).dictionary_encode()
        counts = np.bincount(coded.indices.to_numpy(), minlength=len(coded.dictionary))
        for name, count in zip(coded.dictionary.to_pylist(), counts.tolist(), strict=True):
            place = self._places.get(name)
            if not name:
                self._missing += count
            elif place is not None:
                self._counts[place] += count
            else:
                self._strange += count
                if name in self.unknown or len(self.unknown) < TOLD_NAMES:
                    self.unknown[name] = self.unknown.get(name, 0) + count

    def _add_numbers(self, values: NDArray[np.float64]) -> None:
        gone = np.isnan(values)
        lost = int(np.count_nonzero(gone))
        present = values[~gone] if lost else values
        self._missing += lost
        place = np.searchsorted(self.axis.edges, present, side="right")
        bins = self.axis.bins
        self._counts += np.bincount(place, minlength=bins)
        self._sums += np.bincount(place, present, minlength=bins)
        self._squares += np.bincount(place, present * present, minlength=bins)
        if self.axis.low is not None:
            self._outside += int(np.count_nonzero(present < self.axis.low))
        if self.axis.high is not None:
            self._outside += int(np.count_nonzero(present > self.axis.high))

    def finish(self) -> Binned:
        """The counts so far."""
        if self.axis.kind == "category":
            return Binned(self._rows, self._missing, self._counts.copy(), unknown=self._strange)
        n = np.maximum(self._counts, 1.0)
        means = self._sums / n
        deviations = np.sqrt(np.maximum(self._squares / n - means**2, 0.0))
        total = max(1.0, self._counts.sum())
        mean = self._sums.sum() / total
        deviation = float(np.sqrt(max(0.0, self._squares.sum() / total - mean**2)))
        return Binned(
            self._rows, self._missing, self._counts.copy(), means, deviations,
            outside=min(self._outside, self._rows - self._missing), deviation=deviation,
        )  # fmt: skip
