"""Natural logarithms of skewed columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tideline.transforms._base import BlockTransform, example_frame, make_spec
from tideline.transforms._onnx import Graph


class Log(BlockTransform):
    """log(x) in place of the named `columns` (all, if None); other columns pass.

    Values below `floor` (> 0, in the column's unit) count as `floor`, so that the result is finite; NaN stays.
    """

    def __init__(self, columns: Sequence[str] | None = None, floor: float = 1e-3) -> None:
        self.columns = columns
        self.floor = floor

    def _learn(self, X: np.ndarray, y: np.ndarray | None) -> None:
        if not self.floor > 0:
            raise self._fail(f"floor is {self.floor!r}; expected a number above 0")
        named = self._columns() if self.columns is None else self.columns
        self.chosen_ = np.zeros(X.shape[1], dtype=bool)
        self.chosen_[[self._index(c) for c in named]] = True

    def _apply(self, X: np.ndarray) -> np.ndarray:
        return np.where(self.chosen_, np.log(np.where(X < self.floor, self.floor, X)), X)

    def _names(self, columns: list[str]) -> list[str]:
        return [f"log_{c}" if chosen else c for c, chosen in zip(columns, self.chosen_, strict=True)]

    def emit(self, graph: Graph, x: str) -> str:
        floor = np.float64(self.floor)
        logs = graph.add("Log", graph.add("Where", graph.add("Less", x, floor), floor, x))
        return logs if self.chosen_.all() else str(graph.add("Where", self.chosen_, logs, x))


SPEC = make_spec("log", Log, lambda: example_frame({"a": (0, 9), "b": (-5, 5), "c": (1, 1e6)}), "natural logarithms")
EXAMPLE_PARAMS = {"columns": ("a", "c")}
