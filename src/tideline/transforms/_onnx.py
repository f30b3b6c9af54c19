"""What all converters share: a small writer of ONNX nodes, and the registration with skl2onnx.

A transformer brings `emit(graph, x)`; nothing else in the project talks to skl2onnx's converter interface.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class Graph:
    """Adds nodes to the graph under construction; every value is the name of a tensor."""

    def __init__(self, scope: Any, container: Any) -> None:
        self._scope, self._container = scope, container

    def constant(self, array: Any) -> str:
        """Name of an initializer: float64, int64, bool or strings, with the array's shape (0-d is a scalar)."""
        from onnx import TensorProto

        values = np.asarray(array)
        name = str(self._scope.get_unique_variable_name("constant"))
        kind: int
        content: list[Any]
        if values.dtype.kind in "UO":
            kind, content = TensorProto.STRING, [str(v).encode() for v in values.ravel()]
        elif values.dtype.kind == "b":
            kind, content = TensorProto.BOOL, values.ravel().tolist()
        elif values.dtype.kind in "iu":
            kind, content = TensorProto.INT64, values.ravel().tolist()
        else:
            kind, content = TensorProto.DOUBLE, values.astype(np.float64).ravel().tolist()
        self._container.add_initializer(name, kind, list(values.shape), content)
        return name

    def add(self, op: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """Adds one node; inputs that are no names become constants. Returns its output's name (a list if several)."""
        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        results = [str(self._scope.get_unique_variable_name(op.lower())) for _ in range(outputs)]
        node = str(self._scope.get_unique_operator_name(op))
        self._container.add_node(op, names, results, name=node, **attributes)
        return results[0] if outputs == 1 else results

    def columns(self, x: str, indices: Any) -> str:
        """The columns of x [n, c] at `indices` (a list: [n, len(indices)])."""
        return str(self.add("Gather", x, np.asarray(indices, np.int64), axis=1))

    def where_missing(self, x: str, fill: Any) -> str:
        """x with NaN replaced by `fill` (broadcast)."""
        return str(self.add("Where", self.add("IsNaN", x), np.asarray(fill, np.float64), x))

    def drop_infinite(self, x: str) -> str:
        """x with plus and minus infinity replaced by NaN (missing)."""
        return str(self.add("Where", self.add("IsInf", x), np.float64(np.nan), x))


def register_transform(kind: type[Any]) -> None:
    """Tell skl2onnx how to convert `kind`, through its method `emit`. Safe to call again."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.data_types import DoubleTensorType

    def shape(operator: Any) -> None:
        width = len(operator.raw_operator.get_feature_names_out())
        operator.outputs[0].type = DoubleTensorType([None, width])

    def convert(scope: Any, operator: Any, container: Any) -> None:
        graph = Graph(scope, container)
        result = operator.raw_operator.emit(graph, operator.inputs[0].full_name)
        container.add_node(
            "Identity", [result], [operator.outputs[0].full_name], name=scope.get_unique_operator_name("Identity")
        )

    update_registered_converter(kind, f"Tideline{kind.__name__}", shape, convert, overwrite=True)
