"""LightGBM: the mean of several boosters that look at the target in different ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tideline.contracts import BuildContext, ModelSpec
from tideline.families.lightgbm import BoosterCore
from tideline.families.tabular import Tabular, to_onnx


def build(params: Mapping[str, Any], context: BuildContext) -> Tabular:
    """Unfitted boosters."""
    return Tabular(BoosterCore(params, context), context)


COMMON = {
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 10,
    "feature_fraction": 0.2,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 2.0,
    "max_bin": 127,
}
SPACE: dict[str, dict[str, Any]] = {
    "learning_rate": {"low": 0.02, "high": 0.15, "log": True},
    "num_leaves": {"low": 7, "high": 63, "log": True},
    "min_data_in_leaf": {"low": 3, "high": 60, "log": True},
    "feature_fraction": {"low": 0.1, "high": 1.0},
    "lambda_l2": {"low": 0.01, "high": 30.0, "log": True},
}
SPEC = ModelSpec(
    name="lightgbm",
    family="boosting",
    build=build,
    to_onnx=to_onnx,
    defaults={
        "regression": {
            **COMMON,
            "objective": "huber",
            "alpha": 0.43,
            "num_leaves": 24,
            "num_iterations": 300,
            "target": "standard",
            "offset": "none",
            "members": [
                {"offset": "best", "learning_rate": 0.08, "feature_fraction": 0.15},
                {"extra_trees": True, "learning_rate": 0.13},
            ],
        },
        "classification": {**COMMON, "num_iterations": 150, "num_leaves": 15, "members": [{}]},
    },
    spreads="dask",
    space={"regression": SPACE, "classification": SPACE},
    description="Mean of several LightGBM boosters",
)
