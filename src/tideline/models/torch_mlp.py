"""Perceptrons in PyTorch, several side by side, with learnt waves of the inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tideline.contracts import BuildContext, ModelSpec
from tideline.families.mlp import Recipe
from tideline.families.tabular import Tabular, to_onnx
from tideline.families.torch import TorchCore


def build(params: Mapping[str, Any], context: BuildContext) -> Tabular:
    """Unfitted perceptrons."""
    return Tabular(TorchCore(Recipe.read(params), context), context, params.get("target", "none"), scale=True)


COMMON = {"members": 3, "frequencies": 0, "learning_rate": 3e-3, "batch": 256, "patience": 6}
SPACE = {
    "learning_rate": {"low": 5e-4, "high": 1e-2, "log": True},
    "weight_decay": {"low": 1e-3, "high": 1.0, "log": True},
    "dropout": {"low": 0.0, "high": 0.4},
}
SPEC = ModelSpec(
    name="torch_mlp",
    family="torch",
    build=build,
    to_onnx=to_onnx,
    defaults={
        "regression": {
            **COMMON,
            "batch": 512,
            "learning_rate": 4e-3,
            "hidden": [128, 64],
            "dropout": 0.1,
            "weight_decay": 0.05,
            "epochs": 12,
            "target": "standard",
        },
        "classification": {**COMMON, "hidden": [128, 64], "dropout": 0.2, "weight_decay": 0.05, "epochs": 40},
    },
    spreads="torchrun",
    space={"regression": SPACE, "classification": SPACE},
    description="Multilayer perceptrons (PyTorch)",
)
