"""The one way a net is written down: IR 10, opset 21, ai.onnx.ml 3, input `X`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

IR_VERSION = 10
OPSETS = {"": 21, "ai.onnx.ml": 3}
OUTPUTS = {"regression": "prediction", "classification": "probabilities"}


class Net:
    """A graph under construction; tensors are known by the names that `const` and `op` return.

    The input is `X`, float32 [n, n_features].
    """

    def __init__(self, n_features: int) -> None:
        self.n_features = n_features
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def const(self, value: Any) -> str:
        """An initializer holding `value` with the very dtype of the array it is given as."""
        from onnx import numpy_helper

        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node with one output."""
        from onnx import helper

        name = f"t{len(self._nodes)}"
        self._nodes.append(
            helper.make_node(kind, list(inputs), [name], name=f"{kind}_{name}", domain=domain, **attributes)
        )
        return name

    def cast(self, tensor: str, dtype: Any) -> str:
        """`tensor` as another dtype."""
        from onnx import helper

        return self.op("Cast", tensor, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def affine(self, tensor: str, factor: Any, offset: Any, dtype: Any = np.float32) -> str:
        """tensor * factor + offset, in `dtype` (which the tensor must have)."""
        scaled = self.op("Mul", tensor, self.const(np.asarray(factor, dtype)))
        return self.op("Add", scaled, self.const(np.asarray(offset, dtype)))

    def finish(self, tensor: str, problem: str, width: int) -> onnx.ModelProto:
        """The checked model, with `tensor` (float32 [n, width]) as the output that `problem` prescribes."""
        from onnx import TensorProto, checker, helper

        output = OUTPUTS[problem]
        nodes = [*self._nodes, helper.make_node("Identity", [tensor], [output], name="output")]
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, self.n_features])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, width])],
            initializer=self._constants,
        )
        model = assemble(graph)
        checker.check_model(model, full_check=True)
        return model


def assemble(graph: Any) -> onnx.ModelProto:
    """A model around `graph` with the project's IR version and opsets."""
    from onnx import helper

    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="tideline")
