"""The floor under every comparison: the mean of the target, or the shares of the classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tideline.contracts import BuildContext, ModelSpec
from tideline.families.onnx import Net
from tideline.families.tabular import Tabular, to_onnx


class Constant:
    """One answer for all rows."""

    def __init__(self, problem: str) -> None:
        self.problem = problem

    def fit(self, X: np.ndarray, z: np.ndarray) -> None:
        shares = np.bincount(z) / len(z) if self.problem == "classification" else np.array([z.mean()])
        self.answer_ = shares

    def predict(self, X: np.ndarray) -> np.ndarray:
        if self.problem == "regression":
            return np.full(len(X), self.answer_[0])
        return np.tile(self.answer_, (len(X), 1))

    def emit(self, net: Net, x: str) -> str:
        rows = net.op("Shape", x, start=0, end=1)
        shape = net.op("Concat", rows, net.const(np.array([len(self.answer_)], np.int64)), axis=0)
        return net.op("Expand", net.const(self.answer_[None, :]), shape)


def build(params: Mapping[str, Any], context: BuildContext) -> Tabular:
    """An unfitted constant."""
    return Tabular(Constant(context.problem), context)


SPEC = ModelSpec(
    name="naive",
    family="naive",
    build=build,
    to_onnx=to_onnx,
    defaults={"regression": {}, "classification": {}},
    space={"regression": {}, "classification": {}},
    description="Mean of the target, or shares of the classes",
)
