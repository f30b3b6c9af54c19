"""A window of predictions, counted chunk by chunk: its memory does not grow with its rows, but for a bounded sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tideline.binned import Binned
from tideline.monitor.axes import Axis, Counter

SAMPLE = 5_000  # rows that are kept whole
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Batch:
    """n rows of a window.

    columns: as `Predictor.predict` takes them. answers: what is tested of the predictions, by name (see
    `reference.Reference`): values, or class names and the likeliest one's probability. errors (n,): absolute, NaN
    without a label. inside: level -> (n,), 1 if the label is inside the interval or set, 0 if not, NaN without one.
    lags (n,): seconds to the label. ids (n,): of the predictions. times: (first, last), µs since 1970-01-01 UTC.
    """

    columns: Mapping[str, NDArray[np.generic]]
    answers: Mapping[str, NDArray[np.generic]]
    errors: Floats | None = None
    inside: Mapping[str, Floats] = field(default_factory=dict)
    lags: Floats | None = None
    ids: NDArray[Any] | None = None
    times: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.answers.values())))


class Moments:
    """Number, mean and standard deviation of values that are known (not NaN)."""

    def __init__(self) -> None:
        self.n, self._sum, self._squares = 0, 0.0, 0.0

    def add(self, values: Floats) -> None:
        known = values[~np.isnan(values)]
        self.n += len(known)
        self._sum += float(known.sum())
        self._squares += float(known @ known)

    @property
    def mean(self) -> float:
        return self._sum / self.n

    @property
    def deviation(self) -> float:
        return float(np.sqrt(max(0.0, self._squares - self.n * self.mean**2) / max(1, self.n - 1)))


class Sample:
    """A uniform sample of at most `size` rows of a stream whose length nobody knows: each row draws a number, and those
    with the smallest ones stay (reservoir sampling with random keys: P. Efraimidis & P. Spirakis, 2006)."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self._random = np.random.default_rng(seed)
        self._keys = np.empty(0)
        self._limit = np.inf
        self._kept: dict[str, NDArray[Any]] = {}

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Arrays (n,) or (n, k) of the same n rows; the same names each time."""
        keys = self._random.random(len(next(iter(rows.values()))))
        taken = np.flatnonzero(keys < self._limit)
        if not len(taken):
            return
        fresh = {name: values[taken] for name, values in rows.items()}
        self._kept = {k: np.concatenate([self._kept[k], v]) for k, v in fresh.items()} if self._kept else fresh
        self._keys = np.concatenate([self._keys, keys[taken]])
        if len(self._keys) > 2 * self.size:
            self._trim()

    def _trim(self) -> None:
        if len(self._keys) > self.size:
            best = np.sort(np.argpartition(self._keys, self.size - 1)[: self.size])
            self._keys, self._kept = self._keys[best], {name: v[best] for name, v in self._kept.items()}
            self._limit = float(self._keys.max())

    def take(self) -> dict[str, NDArray[Any]]:
        """The sample, in order of arrival; empty if there were no rows."""
        self._trim()
        return self._kept


class Window:
    """Counts batches over the axes of the reference."""

    def __init__(
        self, columns: Mapping[str, Axis], answers: Mapping[str, Axis], seed: int, sample: int = SAMPLE
    ) -> None:
        self.columns = {name: Counter(axis) for name, axis in columns.items()}
        self.answers = {name: Counter(axis) for name, axis in answers.items()}
        self.rows = 0
        self.first: int | None = None
        self.last: int | None = None
        self.errors, self.lags = Moments(), Moments()
        self.inside: dict[str, Moments] = {}
        self._sample = Sample(sample, seed)

    def add(self, batch: Batch) -> None:
        """Count n more rows."""
        n = len(batch)
        if n == 0:
            return
        self.rows += n
        for name, counter in self.columns.items():
            counter.add(batch.columns[name])
        for name, counter in self.answers.items():
            counter.add(batch.answers[name])
        unknown = np.full(n, np.nan)
        errors = unknown if batch.errors is None else batch.errors
        self.errors.add(errors)
        self.lags.add(unknown if batch.lags is None else batch.lags)
        for level, values in batch.inside.items():
            self.inside.setdefault(level, Moments()).add(values)
        if batch.times is not None:
            self.first = batch.times[0] if self.first is None else min(self.first, batch.times[0])
            self.last = batch.times[1] if self.last is None else max(self.last, batch.times[1])
        rows = {f"column.{name}": batch.columns[name] for name in self.columns}
        rows |= {f"answer.{name}": batch.answers[name] for name in self.answers}
        ids = {} if batch.ids is None else {"id": batch.ids}
        self._sample.add({**rows, **ids, "error": errors})

    def finish_columns(self) -> dict[str, Binned]:
        """Counts of each column so far."""
        return {name: counter.finish() for name, counter in self.columns.items()}

    def finish_answers(self) -> dict[str, Binned]:
        """Counts of the predictions so far."""
        return {name: counter.finish() for name, counter in self.answers.items()}

    def sample_rows(self) -> Batch | None:
        """A uniform, seeded sample of the rows (columns, answers, errors, ids); None if there are none."""
        rows = self._sample.take()
        if not rows:
            return None
        parts = {
            part: {k.removeprefix(part): v for k, v in rows.items() if k.startswith(part)}
            for part in ("column.", "answer.")
        }
        return Batch(parts["column."], parts["answer."], rows["error"], ids=rows.get("id"))
