"""Zero mean, unit deviation; a constant column becomes zero and missing stays missing."""

from __future__ import annotations

import numpy as np

from tideline.transforms._base import BlockTransform, example_frame, make_spec
from tideline.transforms._onnx import Graph
from tideline.transforms.impute_median import column_medians


class StandardScale(BlockTransform):
    """(x - mean) / deviation, both learnt from the values present."""

    def _learn(self, X: np.ndarray, y: np.ndarray | None) -> None:
        column_medians(self, X)
        self.mean_ = np.nanmean(X, axis=0)
        deviation = np.nanstd(X, axis=0)
        constant = deviation <= 10 * np.finfo(np.float64).eps * np.abs(self.mean_)
        self.scale_ = np.where(constant, 1.0, deviation)

    def _apply(self, X: np.ndarray) -> np.ndarray:
        return np.asarray((X - self.mean_) / self.scale_)

    def _names(self, columns: list[str]) -> list[str]:
        return columns

    def emit(self, graph: Graph, x: str) -> str:
        return str(graph.add("Div", graph.add("Sub", x, self.mean_), self.scale_))


SPEC = make_spec(
    "standard_scale", StandardScale, lambda: example_frame({"a": (-1, 1), "b": (0, 1e6)}), "zero mean, unit deviation"
)
