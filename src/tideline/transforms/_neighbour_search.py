"""The k nearest reference rows, with ties broken the same way in numpy and in ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

from tideline.transforms._onnx import Graph

# Many rows share a place, or lie at mirrored distances. Rank j adds j * STEP to the squared distance: far above
# rounding (about 1e-10 at squared norms of 1e6), far below any real difference in distance.
STEP = 1e-8
SPARE = 64


class Reference:
    """Reference points (r, d) and how many neighbours to find."""

    def __init__(self, points: np.ndarray, k: int) -> None:
        from scipy.spatial import cKDTree

        self.points, self.k = points, k
        self.norms = (points * points).sum(axis=1) + STEP * np.arange(len(points))
        self._tree = cKDTree(points)

    def search(self, queries: np.ndarray, group: np.ndarray | None = None) -> np.ndarray:
        """Numbers (n, k) of the nearest reference rows, nearest first.

        With `group` (r,) the queries are the reference rows themselves; rows of a query's own group are passed over.
        """
        count = min(self.k + SPARE, len(self.points))
        while True:
            found = self._candidates(queries, count, group)
            if found is not None:
                return found
            if count == len(self.points):
                raise ValueError(f"fewer than {self.k} reference rows outside a row's own group")
            count = min(2 * count, len(self.points))

    def _candidates(self, queries: np.ndarray, count: int, group: np.ndarray | None) -> np.ndarray | None:
        near = np.asarray(self._tree.query(queries, count)[1]).reshape(len(queries), count)
        products = sum(queries[:, i, None] * self.points[near, i] for i in range(queries.shape[1]))
        score = self.norms[near] - 2 * np.asarray(products)
        if group is not None:
            own = group[near] == group[:, None]
            if ((~own).sum(axis=1) < self.k).any():
                return None
            score = np.where(own, np.inf, score)
        order = np.argsort(score, axis=1, kind="stable")[:, : self.k]
        return np.take_along_axis(near, order, axis=1)

    def emit(self, graph: Graph, places: str) -> Any:
        """Node that holds the numbers [n, k] for places [n, d]."""
        # A column of ones brings the norms into the product: one pass over the scores instead of two.
        ones = graph.add("Add", graph.add("Mul", graph.columns(places, [0]), np.float64(0)), np.float64(1))
        table = np.vstack([-2 * self.points.T, self.norms])
        score = graph.add("MatMul", graph.add("Concat", places, ones, axis=1), table)
        return graph.add("TopK", score, np.array([self.k]), axis=1, largest=0, sorted=1, outputs=2)[1]
