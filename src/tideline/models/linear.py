"""Elastic net for numbers, multinomial logistic regression for classes, on standardised inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tideline.contracts import BuildContext, ModelSpec
from tideline.families.onnx import Net
from tideline.families.tabular import Tabular, to_onnx


class ElasticNetCore:
    """Least squares with L1 and L2 penalties, in float64."""

    def __init__(self, alpha: float, l1_ratio: float) -> None:
        self.alpha = alpha
        self.l1_ratio = l1_ratio

    def fit(self, X: np.ndarray, z: np.ndarray) -> None:
        from sklearn.linear_model import ElasticNet

        net = ElasticNet(alpha=self.alpha, l1_ratio=self.l1_ratio, max_iter=5000, tol=1e-4, precompute=True)
        net.fit(X.astype(np.float64), z)
        self.weights_ = np.asarray(net.coef_, np.float64)[:, None]
        self.bias_ = np.array([net.intercept_], np.float64)

    def predict(self, X: np.ndarray) -> np.ndarray:
        values: np.ndarray = (X.astype(np.float64) @ self.weights_ + self.bias_)[:, 0]
        return values

    def emit(self, net: Net, x: str) -> str:
        product = net.op("MatMul", net.cast(x, np.float64), net.const(self.weights_))
        return net.op("Add", product, net.const(self.bias_))


class LogisticCore:
    """Softmax of a linear score with an L2 penalty, in float64."""

    def __init__(self, C: float) -> None:
        self.C = C

    def fit(self, X: np.ndarray, z: np.ndarray) -> None:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=self.C, max_iter=2000)
        model.fit(X.astype(np.float64), z)
        weights, bias = model.coef_.T, model.intercept_
        if weights.shape[1] == 1:  # two classes: one score, against zero
            weights, bias = np.hstack([np.zeros_like(weights), weights]), np.array([0.0, bias[0]])
        self.weights_, self.bias_ = np.asarray(weights, np.float64), np.asarray(bias, np.float64)

    def predict(self, X: np.ndarray) -> np.ndarray:
        scores = X.astype(np.float64) @ self.weights_ + self.bias_
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
        return shares

    def emit(self, net: Net, x: str) -> str:
        product = net.op("MatMul", net.cast(x, np.float64), net.const(self.weights_))
        return net.op("Softmax", net.op("Add", product, net.const(self.bias_)), axis=1)


def build(params: Mapping[str, Any], context: BuildContext) -> Tabular:
    """An unfitted elastic net or logistic regression."""
    if context.problem == "classification":
        return Tabular(LogisticCore(params["C"]), context, scale=True)
    return Tabular(ElasticNetCore(params["alpha"], params["l1_ratio"]), context, params["target"], scale=True)


SPEC = ModelSpec(
    name="linear",
    family="linear",
    build=build,
    to_onnx=to_onnx,
    defaults={
        "regression": {"alpha": 1e-3, "l1_ratio": 0.1, "target": "standard"},
        "classification": {"C": 0.1},
    },
    space={
        "regression": {
            "alpha": {"low": 1e-4, "high": 1.0, "log": True},
            "l1_ratio": {"low": 0.0, "high": 1.0},
            "target": {"choices": ["standard", "log"]},
        },
        "classification": {"C": {"low": 1e-3, "high": 100.0, "log": True}},
    },
    description="Elastic net, or multinomial logistic regression",
)
