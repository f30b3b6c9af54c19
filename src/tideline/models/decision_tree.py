"""Single decision tree, from scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tideline.contracts import BuildContext, ModelSpec
from tideline.families.sklearn import ForestCore
from tideline.families.tabular import Tabular, to_onnx


def regressor() -> Any:
    """scikit-learn's class for numbers."""
    from sklearn.tree import DecisionTreeRegressor

    return DecisionTreeRegressor


def classifier() -> Any:
    """scikit-learn's class for classes."""
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier


def build(params: Mapping[str, Any], context: BuildContext) -> Tabular:
    """An unfitted single decision tree."""
    settings = {**params, "random_state": context.seed}
    target = settings.pop("target", "none")
    make = regressor if context.problem == "regression" else classifier
    return Tabular(ForestCore(make, settings, context.problem), context, target)


SPEC = ModelSpec(
    name="decision_tree",
    family="trees",
    build=build,
    to_onnx=to_onnx,
    defaults={
        "regression": {"min_samples_leaf": 20, "max_leaf_nodes": 300, "target": "standard"},
        "classification": {"min_samples_leaf": 5, "max_leaf_nodes": 300},
    },
    space={
        "regression": {
            "min_samples_leaf": {"low": 5, "high": 60, "log": True},
            "max_leaf_nodes": {"low": 50, "high": 600, "log": True},
        },
        "classification": {
            "min_samples_leaf": {"low": 1, "high": 40, "log": True},
            "max_leaf_nodes": {"low": 20, "high": 600, "log": True},
        },
    },
    description="Single decision tree",
)
