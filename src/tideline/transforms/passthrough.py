"""Numbers as they are (missing stays NaN): for models that need no preparation, and for pixels."""

from __future__ import annotations

import numpy as np

from tideline.transforms._base import BlockTransform, example_frame, make_spec
from tideline.transforms._onnx import Graph


class Passthrough(BlockTransform):
    """Returns its columns unchanged, as float64."""

    def _apply(self, X: np.ndarray) -> np.ndarray:
        return X.copy()

    def _names(self, columns: list[str]) -> list[str]:
        return columns

    def emit(self, graph: Graph, x: str) -> str:
        return str(graph.add("Identity", x))


SPEC = make_spec("passthrough", Passthrough, lambda: example_frame({"a": (-1, 1), "b": (0, 9)}), "columns as they are")
