"""Random forest, from scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tideline.contracts import BuildContext, ModelSpec
from tideline.families.sklearn import ForestCore
from tideline.families.tabular import Tabular, to_onnx


def regressor() -> Any:
    """scikit-learn's class for numbers."""
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor


def classifier() -> Any:
    """scikit-learn's class for classes."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier


def build(params: Mapping[str, Any], context: BuildContext) -> Tabular:
    """An unfitted random forest."""
    settings = {**params, "random_state": context.seed, "n_jobs": context.threads}
    target = settings.pop("target", "none")
    make = regressor if context.problem == "regression" else classifier
    return Tabular(ForestCore(make, settings, context.problem), context, target)


SPEC = ModelSpec(
    name="random_forest",
    family="trees",
    build=build,
    to_onnx=to_onnx,
    defaults={
        "regression": {
            "n_estimators": 40,
            "max_features": 0.12,
            "max_samples": 0.5,
            "min_samples_leaf": 4,
            "target": "standard",
        },
        "classification": {"n_estimators": 150, "max_features": "sqrt", "min_samples_leaf": 1},
    },
    space={
        "regression": {
            "max_features": {"low": 0.1, "high": 1.0},
            "min_samples_leaf": {"low": 2, "high": 20, "log": True},
        },
        "classification": {"min_samples_leaf": {"low": 1, "high": 10, "log": True}},
    },
    description="Random forest",
)
