"""The k nearest reference rows by an inverted file: look into the nearest cells only, in numpy and in ONNX alike.

Source: Jegou, Douze, Schmid, Product Quantization for Nearest Neighbor Search (2011), section IV (the inverted file).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tideline.transforms._onnx import Graph

CELL = 64  # rows a cell holds
SPARE_CELLS = 10  # looked into beyond those that k rows fill: all 100 neighbours of all housing rows are found
FAR = 1e150  # where the empty places of the last cell lie; its square is finite
SPARE_ROWS = 64
CHUNK = 512


class Reference:
    """Reference points (r, d) in cells of equal size, and how many neighbours to find.

    The neighbours of a query are the k nearest rows of the cells whose boxes lie nearest to it. Both sides compute
    the same differences, squares and sums in the same order, so that they agree to the last bit, ties included.
    """

    def __init__(self, points: np.ndarray, k: int) -> None:
        self.k = k
        cells = _divide(points, np.arange(len(points)))
        self.low = np.stack([points[cell].min(axis=0) for cell in cells], axis=1)  # (d, cells)
        self.high = np.stack([points[cell].max(axis=0) for cell in cells], axis=1)
        self.probes = min(len(cells), -(-k // CELL) + SPARE_CELLS)
        self.rows = np.stack([np.resize(cell, CELL) for cell in cells])  # (cells, CELL)
        self.places = points[self.rows].transpose(0, 2, 1).copy()  # (cells, d, CELL)
        for i, cell in enumerate(cells):
            self.places[i, :, len(cell) :] = FAR

    def search(self, queries: np.ndarray, group: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Numbers (n, k) of the nearest reference rows, nearest first, and their squared distances (n, k).

        With `group` (r,) the queries are the reference rows themselves; rows of a query's own group are passed over.
        """
        parts = []
        for start in range(0, len(queries), CHUNK):
            own = None if group is None else group[start : start + CHUNK]
            parts.append(self._search(queries[start : start + CHUNK], group, own))
        rows, squares = (np.concatenate(side) for side in zip(*parts, strict=True))
        if not (squares < FAR).all():
            raise ValueError(f"fewer than {self.k} reference rows lie in the {self.probes} nearest cells")
        return rows, squares

    def _search(
        self, queries: np.ndarray, group: np.ndarray | None, own: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        here = queries[:, :, None]
        outside = np.maximum(np.maximum(self.low - here, here - self.high), 0.0)
        cells = np.argsort((outside * outside).sum(axis=1), axis=1, kind="stable")[:, : self.probes]
        offset = self.places[cells] - here[:, None]
        squares = (offset * offset).sum(axis=2).reshape(len(queries), -1)
        rows = self.rows[cells].reshape(len(queries), -1)
        if group is not None and own is not None:
            squares = np.where(group[rows] == own[:, None], np.inf, squares)
        order = _smallest(squares, self.k)
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(squares, order, axis=1)

    def emit(self, graph: Graph, places: str) -> tuple[Any, Any]:
        """Nodes that hold the numbers [n, k] and the squared distances [n, k] for places [n, d]."""
        add = graph.add
        here = add("Unsqueeze", places, np.array([2]))
        outside = add("Max", add("Sub", self.low, here), add("Sub", here, self.high), np.float64(0))
        gap = add("ReduceSum", add("Mul", outside, outside), np.array([1]), keepdims=0)
        cells = add("TopK", gap, np.array([self.probes]), axis=1, largest=0, sorted=1, outputs=2)[1]
        offset = add("Sub", add("Gather", self.places, cells, axis=0), add("Unsqueeze", here, np.array([1])))
        squares = add("ReduceSum", add("Mul", offset, offset), np.array([2]), keepdims=0)
        flat = add("Reshape", squares, np.array([0, -1]))
        nearest, at = add("TopK", flat, np.array([self.k]), axis=1, largest=0, sorted=1, outputs=2)
        rows = add("Reshape", add("Gather", self.rows, cells, axis=0), np.array([0, -1]))
        return add("GatherElements", rows, at, axis=1), nearest


def _divide(points: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """Rows in cells of CELL (one may hold fewer), by halving along the longer side."""
    if len(rows) <= CELL:
        return [rows]
    side = int(np.ptp(points[rows], axis=0).argmax())
    rows = rows[np.argsort(points[rows, side], kind="stable")]
    half = -(-len(rows) // CELL) // 2 * CELL
    return _divide(points, rows[:half]) + _divide(points, rows[half:])


def _smallest(values: np.ndarray, k: int) -> np.ndarray:
    """Positions (n, k) of the k smallest of each row, in order, ties by position: what TopK answers."""
    count = k + SPARE_ROWS
    if count >= values.shape[1]:
        return np.argsort(values, axis=1, kind="stable")[:, :k]
    few = np.sort(np.argpartition(values, count - 1, axis=1)[:, :count], axis=1)
    chosen = np.take_along_axis(values, few, axis=1)
    order = np.take_along_axis(few, np.argsort(chosen, axis=1, kind="stable")[:, :k], axis=1)
    # A tie that reaches beyond what was partitioned may hide an earlier position.
    tied = np.flatnonzero(np.take_along_axis(values, order[:, -1:], axis=1)[:, 0] == chosen.max(axis=1))
    order[tied] = np.argsort(values[tied], axis=1, kind="stable")[:, :k]
    return order
