"""Missing numbers become the median of the training rows."""

from __future__ import annotations

import numpy as np

from tideline.transforms._base import BlockTransform, example_frame, make_spec
from tideline.transforms._onnx import Graph


class ImputeMedian(BlockTransform):
    """Replaces NaN by the column's median. A column without any value is an error when fitted."""

    def _learn(self, X: np.ndarray, y: np.ndarray | None) -> None:
        self.medians_ = column_medians(self, X)

    def _apply(self, X: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(X), self.medians_, X)

    def _names(self, columns: list[str]) -> list[str]:
        return columns

    def emit(self, graph: Graph, x: str) -> str:
        return graph.where_missing(x, self.medians_)


def column_medians(transform: BlockTransform, X: np.ndarray) -> np.ndarray:
    """Medians (c,) of the values present in X (n, c); raises TidelineError naming a column that has none."""
    empty = np.isnan(X).all(axis=0)
    if empty.any():
        raise transform._fail(
            f"column {transform._columns()[int(empty.argmax())]!r} has no value in {len(X)} rows, so no median; "
            "drop it from the block or repair the data"
        )
    return np.asarray(np.nanmedian(X, axis=0))


SPEC = make_spec("impute_median", ImputeMedian, lambda: example_frame({"a": (-1, 1), "b": (0, 9)}), "NaN to the median")
