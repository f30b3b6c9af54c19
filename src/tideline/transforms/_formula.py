"""One formula, two worlds: the same operations on arrays and as ONNX nodes.

A computation that is written against `Formula` gives a transformer its numpy side and its converter at once,
so that the two cannot drift apart. Values are arrays in one world and tensor names in the other; constants are arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from tideline.transforms._onnx import Graph


class Formula(Protocol):
    """Float64 operations; `op` follows the ONNX operator of that name, with numpy's broadcasting."""

    def op(self, name: str, *values: Any) -> Any:
        """Add, Sub, Mul, Div, MatMul, Max, Min, Floor, Sqrt, Exp, Log, Abs, Sin."""

    def less(self, a: Any, limit: float, yes: Any, no: Any) -> Any:
        """`yes` where a < limit, else `no`."""

    def take(self, a: Any, indices: Sequence[int], axis: int) -> Any:
        """The given positions along an axis."""

    def split(self, a: Any, sizes: Sequence[int], axis: int) -> list[Any]:
        """Consecutive parts of the given sizes (each at least 1)."""

    def join(self, parts: Sequence[Any], axis: int) -> Any:
        """Parts side by side along an axis."""

    def lift(self, a: Any) -> Any:
        """[n, c] as [n, 1, c]."""

    def swap(self, a: Any) -> Any:
        """[n, a, b] as [n, b, a]."""

    def flatten(self, a: Any) -> Any:
        """[n, a, b] as [n, a * b]."""

    def total(self, a: Any) -> Any:
        """Sum along the last axis, which stays with length 1."""


class NumpyFormula:
    """Computes at once."""

    _FUNCTIONS = {  # noqa: RUF012
        "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "MatMul": np.matmul, "Max": np.maximum,
        "Min": np.minimum, "Floor": np.floor, "Sqrt": np.sqrt, "Exp": np.exp, "Log": np.log, "Abs": np.abs,
        "Sin": np.sin,
    }  # fmt: skip

    def op(self, name: str, *values: Any) -> Any:
        return self._FUNCTIONS[name](*values)

    def less(self, a: Any, limit: float, yes: Any, no: Any) -> Any:
        return np.where(a < limit, yes, no)

    def take(self, a: Any, indices: Sequence[int], axis: int) -> Any:
        return np.take(a, np.asarray(indices, np.int64), axis=axis)

    def split(self, a: Any, sizes: Sequence[int], axis: int) -> list[Any]:
        return np.split(a, np.cumsum(sizes)[:-1], axis=axis)

    def join(self, parts: Sequence[Any], axis: int) -> Any:
        return np.concatenate(parts, axis=axis)

    def lift(self, a: Any) -> Any:
        return a[:, None, :]

    def swap(self, a: Any) -> Any:
        return np.swapaxes(a, 1, 2)

    def flatten(self, a: Any) -> Any:
        return a.reshape(len(a), -1)

    def total(self, a: Any) -> Any:
        return a.sum(axis=-1, keepdims=True)


class OnnxFormula:
    """Writes nodes."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def op(self, name: str, *values: Any) -> Any:
        return self.graph.add(name, *(v if isinstance(v, str) else np.asarray(v, np.float64) for v in values))

    def less(self, a: Any, limit: float, yes: Any, no: Any) -> Any:
        branches = [v if isinstance(v, str) else np.float64(v) for v in (yes, no)]
        return self.graph.add("Where", self.graph.add("Less", a, np.float64(limit)), *branches)

    def take(self, a: Any, indices: Sequence[int], axis: int) -> Any:
        return self.graph.add("Gather", a, np.asarray(indices, np.int64), axis=axis)

    def split(self, a: Any, sizes: Sequence[int], axis: int) -> list[Any]:
        if len(sizes) == 1:
            return [a]
        return list(self.graph.add("Split", a, np.asarray(sizes, np.int64), outputs=len(sizes), axis=axis))

    def join(self, parts: Sequence[Any], axis: int) -> Any:
        return parts[0] if len(parts) == 1 else self.graph.add("Concat", *parts, axis=axis)

    def lift(self, a: Any) -> Any:
        return self.graph.add("Unsqueeze", a, np.array([1]))

    def swap(self, a: Any) -> Any:
        return self.graph.add("Transpose", a, perm=[0, 2, 1])

    def flatten(self, a: Any) -> Any:
        return self.graph.add("Flatten", a, axis=1)

    def total(self, a: Any) -> Any:
        return self.graph.add("ReduceSum", a, np.array([-1]), keepdims=1)
