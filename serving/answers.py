"""Predictions as plain lists, which are cut and joined into the answers of requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Self

import numpy as np

from tideline.predictor import Band, ClassSet, Prediction


@dataclass(frozen=True, slots=True)
class Answers:
    """Predictions of n rows as plain lists, ready to be cut into the answers of several requests.

    levels: {level: list of n} intervals, or sets of classes; probabilities: a list of n, for classes only.
    """

    predictions: list[Any]
    levels: dict[str, list[Any]] = field(default_factory=dict)
    probabilities: list[dict[str, float]] | None = None

    @classmethod
    def of(cls, prediction: Prediction) -> Self:
        """A prediction's arrays as lists."""
        if not prediction.names:
            bands = {
                f"{b.level:g}": list(zip(b.lower.tolist(), b.upper.tolist(), strict=True)) for b in prediction.intervals
            }
            return cls(prediction.values.tolist(), bands)
        names = np.array(prediction.names, dtype=object)
        probabilities = [dict(zip(prediction.names, row, strict=True)) for row in prediction.probabilities.tolist()]
        sets = {f"{s.level:g}": [names[row].tolist() for row in s.members] for s in prediction.sets}
        return cls(prediction.classes, sets, probabilities)

    @classmethod
    def join(cls, parts: Sequence[Answers]) -> Self:
        """The parts one behind the other."""
        first = parts[0]
        levels = {level: list(chain.from_iterable(p.levels[level] for p in parts)) for level in first.levels}
        shares = None if first.probabilities is None else [s for p in parts for s in p.probabilities or ()]
        return cls(list(chain.from_iterable(p.predictions for p in parts)), levels, shares)

    def cut(self, start: int, stop: int) -> Answers:
        """Those of the rows from `start` to `stop`."""
        levels = {level: values[start:stop] for level, values in self.levels.items()}
        shares = None if self.probabilities is None else self.probabilities[start:stop]
        return Answers(self.predictions[start:stop], levels, shares)

    def to_prediction(self, names: Sequence[str]) -> Prediction:
        """The arrays again, for formats that are made of columns; `names` are the classes."""
        n = len(self.predictions)
        if self.probabilities is None:
            bounds = {float(level): np.array(pairs).reshape(n, 2) for level, pairs in self.levels.items()}
            bands = tuple(Band(level, pairs[:, 0], pairs[:, 1]) for level, pairs in bounds.items())
            return Prediction(np.array(self.predictions, dtype=np.float64), np.empty((n, 0)), (), bands, ())
        codes = {name: code for code, name in enumerate(names)}
        values = np.array([codes[name] for name in self.predictions], dtype=np.float64)
        shares = np.array([list(row.values()) for row in self.probabilities]).reshape(n, len(names))
        sets = []
        for level, chosen in self.levels.items():
            members = np.zeros((n, len(names)), dtype=np.bool_)
            for row, own in enumerate(chosen):
                members[row, [codes[name] for name in own]] = True
            sets.append(ClassSet(float(level), members))
        return Prediction(values, shares, tuple(names), (), tuple(sets))
