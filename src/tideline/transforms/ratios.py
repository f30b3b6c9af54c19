"""Quotients (and products) of columns, such as rooms per household."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tideline.transforms._base import BlockTransform, example_frame, make_spec
from tideline.transforms._onnx import Graph


class Ratios(BlockTransform):
    """Each entry of `ratios` is a new feature: name -> (above, below).

    `above` and `below` are a column's name or a list of names whose values are multiplied; an empty
    `below` divides by nothing. What cannot be computed (division by zero, a missing part) is NaN. With `keep`
    the columns themselves come first.
    """

    def __init__(self, ratios: Mapping[str, Any] | None = None, keep: bool = False) -> None:
        self.ratios = ratios
        self.keep = keep

    def _learn(self, X: np.ndarray, y: np.ndarray | None) -> None:
        if not self.ratios:
            raise self._fail("needs `ratios`, for example {'rooms_per_household': ('total_rooms', 'households')}")
        sides: tuple[list[list[int]], list[list[int]]] = ([], [])
        for name, parts in self.ratios.items():
            if isinstance(parts, str) or len(parts) != 2:
                raise self._fail(f"ratio {name!r} is {parts!r}; expected (above, below)")
            for side, part in zip(sides, parts, strict=True):
                side.append([self._index(c) for c in ([part] if isinstance(part, str) else part)])
        self.above_, self.below_ = (_levels(side) for side in sides)

    def _apply(self, X: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            values = _product(X, self.above_) / _product(X, self.below_)
        values = np.where(np.isinf(values), np.nan, values)
        return np.hstack([X, values]) if self.keep else values

    def _names(self, columns: list[str]) -> list[str]:
        return [*(columns if self.keep else []), *(self.ratios or {})]

    def emit(self, graph: Graph, x: str) -> str:
        values = graph.add("Div", _emit_product(graph, x, self.above_), _emit_product(graph, x, self.below_))
        values = graph.drop_infinite(values)
        return str(graph.add("Concat", x, values, axis=1)) if self.keep else values


def _levels(lists: list[list[int]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Lists of factors as levels: per level the column of each product, and whether the product has that many."""
    depth = max(1, *(len(factors) for factors in lists))
    padded = [factors + [-1] * (depth - len(factors)) for factors in lists]
    levels = np.asarray(padded, np.int64).reshape(len(lists), depth).T
    return [(np.maximum(level, 0), level >= 0) for level in levels]


def _product(X: np.ndarray, levels: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    result = None
    for columns, present in levels:
        factor = np.where(present, X[:, columns], 1.0)
        result = factor if result is None else result * factor
    assert result is not None
    return result


def _emit_product(graph: Graph, x: str, levels: list[tuple[np.ndarray, np.ndarray]]) -> str:
    result = ""
    for columns, present in levels:
        factor = graph.columns(x, columns)
        if not present.all():
            factor = graph.add("Where", present, factor, np.float64(1))
        result = graph.add("Mul", result, factor) if result else factor
    return result


def _example() -> tuple[Any, Any]:
    return example_frame({"a": (1, 9), "b": (1, 5), "c": (-1, 1)})


SPEC = make_spec("ratios", Ratios, _example, "quotients and products of columns")
EXAMPLE_PARAMS = {"ratios": {"a_per_b": ("a", "b"), "ab_per_c": (["a", "b"], "c"), "product": (["a", "c"], [])}}
