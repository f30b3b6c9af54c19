"""scikit-learn's histogram gradient boosting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tideline.contracts import BuildContext, ModelSpec
from tideline.families.sklearn import HistogramCore
from tideline.families.tabular import Tabular, to_onnx


def build(params: Mapping[str, Any], context: BuildContext) -> Tabular:
    """An unfitted histogram gradient boosting."""
    settings = {**params, "random_state": context.seed}
    target = settings.pop("target", "none")
    return Tabular(HistogramCore(settings, context.problem), context, target)


COMMON = {"learning_rate": 0.1, "max_features": 0.2, "early_stopping": True, "validation_fraction": 0.1}
SPACE: dict[str, dict[str, Any]] = {
    "learning_rate": {"low": 0.02, "high": 0.3, "log": True},
    "max_leaf_nodes": {"low": 7, "high": 63, "log": True},
    "min_samples_leaf": {"low": 5, "high": 60, "log": True},
    "l2_regularization": {"low": 0.01, "high": 30.0, "log": True},
    "max_features": {"low": 0.1, "high": 1.0},
}
SPEC = ModelSpec(
    name="hist_gradient_boosting",
    family="boosting",
    build=build,
    to_onnx=to_onnx,
    defaults={
        "regression": {
            **COMMON,
            "learning_rate": 0.12,
            "max_iter": 100,
            "max_leaf_nodes": 24,
            "min_samples_leaf": 20,
            "l2_regularization": 2.0,
            "n_iter_no_change": 20,
            "target": "standard",
        },
        "classification": {
            **COMMON,
            "max_iter": 60,
            "max_leaf_nodes": 15,
            "min_samples_leaf": 10,
            "l2_regularization": 1.0,
            "n_iter_no_change": 10,
        },
    },
    space={"regression": SPACE, "classification": SPACE},
    description="Histogram gradient boosting (scikit-learn)",
)
