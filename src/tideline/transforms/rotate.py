"""Two coordinates seen from other angles, so that a tree can cut along a slanted coast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tideline.transforms._base import BlockTransform, example_frame, make_spec
from tideline.transforms._onnx import Graph


class Rotate(BlockTransform):
    """For each of `angles` (degrees): cos(angle) * scales[0] * x + sin(angle) * scales[1] * y.

    Takes exactly two columns. `scales` makes their units alike (a degree of longitude is shorter than one of
    latitude). Missing in either is missing in all.
    """

    def __init__(
        self, angles: Sequence[float] = (15, 30, 45, 60, 75, 105, 120, 135, 150, 165), scales: Sequence[float] = (1, 1)
    ) -> None:
        self.angles = angles
        self.scales = scales

    def _learn(self, X: np.ndarray, y: np.ndarray | None) -> None:
        if X.shape[1] != 2 or len(self.scales) != 2:
            raise self._fail(f"takes two columns and two scales; got {X.shape[1]} and {len(self.scales)}")
        if not len(self.angles):
            raise self._fail("angles is empty; give at least one, in degrees")
        radians = np.deg2rad(np.asarray(self.angles, np.float64))
        self.x_ = np.cos(radians) * float(self.scales[0])
        self.y_ = np.sin(radians) * float(self.scales[1])

    def _apply(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(X[:, :1] * self.x_ + X[:, 1:] * self.y_)

    def _names(self, columns: list[str]) -> list[str]:
        return [f"{columns[0]}_{columns[1]}_{angle:g}deg" for angle in self.angles]

    def emit(self, graph: Graph, x: str) -> str:
        first, second = graph.columns(x, [0]), graph.columns(x, [1])
        return str(graph.add("Add", graph.add("Mul", first, self.x_), graph.add("Mul", second, self.y_)))


SPEC = make_spec(
    "rotate", Rotate, lambda: example_frame({"longitude": (-124, -114), "latitude": (32, 42)}), "rotated coordinates"
)
