"""Perceptrons in Keras on TensorFlow, as branches of one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tideline.contracts import BuildContext, ModelSpec
from tideline.families.mlp import Recipe
from tideline.families.tabular import Tabular, to_onnx
from tideline.families.tensorflow import KerasCore


def build(params: Mapping[str, Any], context: BuildContext) -> Tabular:
    """Unfitted perceptrons."""
    recipe = Recipe.read({**params, "frequencies": 0})
    return Tabular(KerasCore(recipe, context), context, params.get("target", "none"), scale=True)


COMMON = {"members": 2, "learning_rate": 3e-3, "weight_decay": 0.01, "batch": 256, "patience": 6}
SPACE = {
    "learning_rate": {"low": 5e-4, "high": 1e-2, "log": True},
    "weight_decay": {"low": 1e-3, "high": 1.0, "log": True},
    "dropout": {"low": 0.0, "high": 0.4},
}
SPEC = ModelSpec(
    name="keras_mlp",
    family="tensorflow",
    build=build,
    to_onnx=to_onnx,
    defaults={
        "regression": {
            **COMMON,
            "members": 1,
            "batch": 512,
            "learning_rate": 4e-3,
            "hidden": [128, 64],
            "dropout": 0.1,
            "epochs": 10,
            "target": "standard",
        },
        "classification": {**COMMON, "hidden": [128, 64], "dropout": 0.2, "epochs": 40},
    },
    space={"regression": SPACE, "classification": SPACE},
    description="Multilayer perceptrons (Keras on TensorFlow)",
)
