"""Similarity to the centres of clusters: exp(-gamma * squared distance), centres by k-means on the training rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tideline.transforms._base import BlockTransform, example_frame, make_spec
from tideline.transforms._onnx import Graph
from tideline.transforms.impute_median import column_medians


class RbfSimilarity(BlockTransform):
    """One feature per cluster, between 0 and 1. `scales` multiplies the columns first; missing counts as the median.

    Source: Geron, Hands-On Machine Learning, 3rd edition, chapter 2 (ClusterSimilarity).
    """

    def __init__(
        self, clusters: int = 10, gamma: float = 1.0, scales: Sequence[float] | None = None, seed: int = 42
    ) -> None:
        self.clusters = clusters
        self.gamma = gamma
        self.scales = scales
        self.seed = seed

    def _learn(self, X: np.ndarray, y: np.ndarray | None) -> None:
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits

        if self.scales is not None and len(self.scales) != X.shape[1]:
            raise self._fail(f"{len(self.scales)} scales for {X.shape[1]} columns; give one each")
        if not 1 <= self.clusters <= len(X):
            raise self._fail(f"{self.clusters} clusters of {len(X)} rows; ask for at least 1 and at most that many")
        self.medians_ = column_medians(self, X)
        self.scale_ = np.ones(X.shape[1]) if self.scales is None else np.asarray(self.scales, np.float64)
        means = KMeans(self.clusters, n_init=3, random_state=self.seed)
        with threadpool_limits(1):  # several threads add up in changing order
            means.fit(self._place(X))
        self.centres_ = np.asarray(means.cluster_centers_, np.float64)

    def _place(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(np.where(np.isnan(X), self.medians_, X) * self.scale_)

    def _apply(self, X: np.ndarray) -> np.ndarray:
        result = np.empty((len(X), len(self.centres_)))
        placed = self._place(X)
        for j, centre in enumerate(self.centres_):
            result[:, j] = np.exp(-self.gamma * ((placed - centre) ** 2).sum(axis=1))
        return result

    def _names(self, columns: list[str]) -> list[str]:
        return [f"{'_'.join(columns[:2])}_cluster{j}" for j in range(self.clusters)]

    def emit(self, graph: Graph, x: str) -> str:
        placed = graph.add("Mul", graph.where_missing(x, self.medians_), self.scale_)
        difference = graph.add("Sub", graph.add("Unsqueeze", placed, np.array([1])), self.centres_[None])
        squares = graph.add("ReduceSum", graph.add("Mul", difference, difference), np.array([2]), keepdims=0)
        return str(graph.add("Exp", graph.add("Mul", squares, np.float64(-self.gamma))))


SPEC = make_spec(
    "rbf",
    RbfSimilarity,
    lambda: example_frame({"longitude": (-124, -114), "latitude": (32, 42)}),
    "similarity to cluster centres",
)
