"""Natural logarithms of skewed columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tideline.transforms._base import BlockTransform, example_frame, make_spec
from tideline.transforms._onnx import Graph


class Log(BlockTransform):
    """log(x) of the named `columns` (all, if None), after the other columns, which pass.

    With `keep` the named columns pass as well. Values below `floor` (> 0, in the column's unit)
    count as `floor`, so that the result is finite; NaN stays.
    """

    def __init__(self, columns: Sequence[str] | None = None, floor: float = 1e-3, keep: bool = False) -> None:
        self.columns = columns
        self.floor = floor
        self.keep = keep

    def _learn(self, X: np.ndarray, y: np.ndarray | None) -> None:
        if not self.floor > 0:
            raise self._fail(f"floor is {self.floor!r}; expected a number above 0")
        named = self._columns() if self.columns is None else self.columns
        self.chosen_ = [self._index(c) for c in named]
        self.kept_ = [j for j in range(X.shape[1]) if self.keep or j not in self.chosen_]

    def _apply(self, X: np.ndarray) -> np.ndarray:
        values = X[:, self.chosen_]
        return np.hstack([X[:, self.kept_], np.log(np.where(values < self.floor, self.floor, values))])

    def _names(self, columns: list[str]) -> list[str]:
        return [*(columns[j] for j in self.kept_), *(f"log_{columns[j]}" for j in self.chosen_)]

    def emit(self, graph: Graph, x: str) -> str:
        floor, values = np.float64(self.floor), graph.columns(x, self.chosen_)
        logs = graph.add("Log", graph.add("Where", graph.add("Less", values, floor), floor, values))
        return str(graph.add("Concat", graph.columns(x, self.kept_), logs, axis=1)) if self.kept_ else logs


SPEC = make_spec("log", Log, lambda: example_frame({"a": (0, 9), "b": (-5, 5), "c": (1, 1e6)}), "natural logarithms")
EXAMPLE_PARAMS = {"columns": ("a", "c")}
