"""Several fitted models as one, in Python and as one graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tideline.contracts import Problem
from tideline.families.folds import predict
from tideline.families.onnx import OUTPUTS, assemble

if TYPE_CHECKING:
    import onnx


class Blend:
    """Weighted sum of fitted models; answers like one of them."""

    def __init__(self, members: Mapping[str, Any], weights: Mapping[str, float], problem: Problem) -> None:
        self.members = members
        self.weights = weights
        self.problem = problem

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Values float64 (n,), or class numbers (n,)."""
        if self.problem == "classification":
            numbers: np.ndarray = self.predict_proba(X).argmax(axis=1)
            return numbers
        return self._mix(X)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Probabilities float64 (n, n_classes)."""
        return self._mix(X)

    def _mix(self, X: np.ndarray) -> np.ndarray:
        parts = [weight * predict(self.members[name], X, self.problem) for name, weight in self.weights.items()]
        total: np.ndarray = np.sum(parts, axis=0)
        return total


def blend_nets(nets: Mapping[str, onnx.ModelProto], weights: Mapping[str, float], problem: Problem) -> onnx.ModelProto:
    """One graph from `X`: the members' nodes under prefixed names, then their weighted sum in float64."""
    from onnx import TensorProto, checker, helper, numpy_helper

    output = OUTPUTS[problem]
    nodes, constants, terms = [], [], []
    for number, (name, weight) in enumerate(weights.items()):
        graph, prefix = nets[name].graph, f"m{number}_"
        for constant in graph.initializer:
            constant.name = prefix + constant.name
        for node in graph.node:
            node.name = prefix + node.name
            node.input[:] = [tensor if tensor in ("", "X") else prefix + tensor for tensor in node.input]
            node.output[:] = [prefix + tensor for tensor in node.output]
        nodes.extend(graph.node)
        constants.extend(graph.initializer)
        constants.append(numpy_helper.from_array(np.asarray(weight, np.float64), f"{prefix}weight"))
        nodes.append(helper.make_node("Cast", [prefix + output], [f"{prefix}wide"], to=TensorProto.DOUBLE))
        nodes.append(helper.make_node("Mul", [f"{prefix}wide", f"{prefix}weight"], [f"{prefix}term"]))
        terms.append(f"{prefix}term")
    nodes.append(helper.make_node("Sum", terms, ["total"]))
    nodes.append(helper.make_node("Cast", ["total"], [output], to=TensorProto.FLOAT))
    first = next(iter(nets.values())).graph
    model = assemble(helper.make_graph(nodes, "blend", [first.input[0]], [first.output[0]], initializer=constants))
    checker.check_model(model, full_check=True)
    return model


def merge_nets(preprocess: onnx.ModelProto, net: onnx.ModelProto) -> onnx.ModelProto:
    """One graph from raw columns: `preprocess` (raw -> X), then `net` (X -> answer) under prefixed names."""
    from onnx import checker, compose

    output = net.graph.output[0].name
    prefixed = compose.add_prefix(net, "net_", rename_inputs=True, rename_outputs=True)
    merged = compose.merge_graphs(preprocess.graph, prefixed.graph, io_map=[("X", "net_X")])
    for node in merged.node:
        for place, tensor in enumerate(node.output):
            if tensor == f"net_{output}":
                node.output[place] = output
    merged.output[0].name = output
    merged.name = "model"
    model = assemble(merged)
    model.functions.extend(preprocess.functions)
    checker.check_model(model, full_check=True)
    return model
