"""The k nearest reference rows, found by the same arithmetic in numpy and in ONNX (MatMul, TopK)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tideline.transforms._formula import Formula
from tideline.transforms._onnx import Graph

CELLS = 4_000_000  # distances held at once (32 MB)
TIE = 1024 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class NearestRows:
    """Reference rows in a flat space of `p` scaled coordinates, centred.

    Rows are ordered by |b|^2 - 2ab (the squared distance without the query's own square). Many rows share a place, and
    two implementations of MatMul round differently; so each reference row's square is raised by its number times a step
    far above rounding (1024 eps) and far below any real difference: ties go to the lower row number, everywhere.
    Queries outside the reference rows' box by more than a tenth of its size count as at that edge.
    """

    columns: tuple[int, ...]
    scales: np.ndarray  # (p,)
    centre: np.ndarray  # (p,)
    low: np.ndarray  # (p,)
    high: np.ndarray  # (p,)
    places: np.ndarray  # (R, p)
    squares: np.ndarray  # (R,)
    k: int

    @classmethod
    def learn(cls, X: np.ndarray, columns: tuple[int, ...], scales: np.ndarray, k: int) -> NearestRows:
        """Take the rows X (R, c), without missing values, as reference rows."""
        places = X[:, columns] * scales
        centre = (places.min(axis=0) + places.max(axis=0)) / 2
        places = places - centre
        margin = 0.1 * (places.max(axis=0) - places.min(axis=0))
        squares = (places**2).sum(axis=1)
        squares = squares + np.arange(len(X)) * (TIE * max(float(squares.max()), 1e-12))
        low, high = places.min(axis=0) - margin, places.max(axis=0) + margin
        return cls(columns, scales, centre, low, high, places, squares, k)

    def place(self, o: Formula, X: Any) -> Any:
        """Coordinates [n, p] of rows."""
        scaled = o.op("Sub", o.op("Mul", o.take(X, self.columns, 1), self.scales), self.centre)
        return o.op("Min", o.op("Max", scaled, self.low), self.high)

    def search(self, places: np.ndarray, own: np.ndarray | None = None, groups: np.ndarray | None = None) -> np.ndarray:
        """Numbers (n, k) of the nearest reference rows, nearest first.

        A query of group `own` (n,) never meets a reference row of the same group in `groups` (R,).
        """
        scores = places @ (-2.0 * self.places.T)
        scores += self.squares
        if own is not None and groups is not None:
            scores[own[:, None] == groups[None, :]] = np.inf
        found = np.argpartition(scores, self.k - 1, axis=1)[:, : self.k]
        order = np.argsort(np.take_along_axis(scores, found, axis=1), axis=1)
        return np.asarray(np.take_along_axis(found, order, axis=1))

    def emit_search(self, graph: Graph, places: str) -> str:
        """The same numbers as int64 [n, k]."""
        scores = graph.add("Add", graph.add("MatMul", places, -2.0 * self.places.T), self.squares[None, :])
        return str(graph.add("TopK", scores, np.array([self.k]), outputs=2, axis=1, largest=0, sorted=1)[1])

    def chunks(self, n: int) -> Iterator[slice]:
        """Parts of n rows small enough for memory."""
        size = max(1, CELLS // len(self.squares))
        return (slice(start, min(start + size, n)) for start in range(0, n, size))
