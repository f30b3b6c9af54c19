"""Support vectors with a Gaussian kernel on standardised inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tideline.contracts import BuildContext, ModelSpec
from tideline.families.onnx import Net
from tideline.families.tabular import Tabular, to_onnx

CHUNK = 1024  # rows whose kernel is held at a time


class SupportVectors:
    """Weighted sums of exp(-gamma |x - s|^2) over support vectors s; one column of weights for each score."""

    def __init__(self, C: float, gamma: float, seed: int) -> None:
        self.C = C
        self.gamma = gamma
        self.seed = seed
        self.rate_ = gamma

    def scores(self, X: np.ndarray) -> np.ndarray:
        """Scores float64 (n, k)."""
        parts = [self._kernel(X[i : i + CHUNK]) @ self.weights_ + self.bias_ for i in range(0, len(X), CHUNK)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.bias_)))

    def emit_scores(self, net: Net, x: str) -> str:
        """`scores` as nodes, in float64: thousands of terms cancel, float32 would not hold 1e-4."""
        wide = net.cast(x, np.float64)
        square = net.op("ReduceSum", net.op("Mul", wide, wide), net.const(np.array([1], np.int64)), keepdims=1)
        cross = net.op("MatMul", wide, net.const(np.ascontiguousarray(-2.0 * self.vectors_.T)))
        distance = net.op("Add", net.op("Add", cross, square), net.const((self.vectors_**2).sum(axis=1)))
        kernel = net.op("Exp", net.op("Mul", distance, net.const(np.float64(-self.rate_))))
        return net.op("Add", net.op("MatMul", kernel, net.const(self.weights_)), net.const(self.bias_))

    def _kernel(self, X: np.ndarray) -> np.ndarray:
        wide = X.astype(np.float64)
        cross = wide @ (-2.0 * self.vectors_.T)
        distance = cross + (wide**2).sum(axis=1, keepdims=True) + (self.vectors_**2).sum(axis=1)
        powers: np.ndarray = np.exp(-self.rate_ * distance)
        return powers

    def _keep(self, X: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> None:
        used = np.flatnonzero(np.abs(weights).max(axis=1) > 0)
        self.vectors_ = X[used].astype(np.float64)
        self.weights_ = np.ascontiguousarray(weights[used])
        self.bias_ = bias


class RegressionCore(SupportVectors):
    """Support vector regression; `epsilon` is the width of the tube that costs nothing, in units of z."""

    def __init__(self, C: float, gamma: float, epsilon: float, seed: int) -> None:
        super().__init__(C, gamma, seed)
        self.epsilon = epsilon

    def fit(self, X: np.ndarray, z: np.ndarray) -> None:
        from sklearn.svm import SVR

        self.rate_ = self.gamma / X.shape[1]
        model = SVR(C=self.C, gamma=self.rate_, epsilon=self.epsilon, cache_size=500, tol=1e-2)
        model.fit(X.astype(np.float64), z)
        weights = np.zeros((len(X), 1))
        weights[model.support_, 0] = model.dual_coef_[0]
        self._keep(X, weights, np.asarray(model.intercept_, np.float64))

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.scores(X)[:, 0]

    def emit(self, net: Net, x: str) -> str:
        return self.emit_scores(net, x)


class ClassificationCore(SupportVectors):
    """One machine for each class against the rest.

    Probabilities are a softmax of the scores, as warm as out-of-fold rows ask for.
    """

    def fit(self, X: np.ndarray, z: np.ndarray) -> None:
        from scipy.optimize import minimize_scalar
        from sklearn.model_selection import StratifiedKFold

        self.rate_ = self.gamma / X.shape[1]
        folds = min(3, int(np.bincount(z).min()))
        scores, seen = np.zeros((len(z), int(z.max()) + 1)), np.zeros(len(z), bool)
        if folds > 1:
            for fit, rest in StratifiedKFold(folds, shuffle=True, random_state=self.seed).split(X, z):
                self._fit_machines(X[fit], z[fit])
                scores[rest], seen[rest] = self.scores(X[rest]), True
        self._fit_machines(X, z)
        if not seen.any():  # a class with a single row: nothing to calibrate on
            self.warmth_ = 1.0
            return

        def loss(log_warmth: float) -> float:
            shares = softmax(scores[seen] * np.exp(log_warmth))
            return float(-np.log(np.maximum(shares[np.arange(int(seen.sum())), z[seen]], 1e-15)).mean())

        self.warmth_ = float(np.exp(minimize_scalar(loss, bounds=(-3.0, 5.0), method="bounded").x))

    def predict(self, X: np.ndarray) -> np.ndarray:
        return softmax(self.scores(X) * self.warmth_)

    def emit(self, net: Net, x: str) -> str:
        scores = net.op("Mul", self.emit_scores(net, x), net.const(np.float64(self.warmth_)))
        return net.op("Softmax", scores, axis=1)

    def _fit_machines(self, X: np.ndarray, z: np.ndarray) -> None:
        from sklearn.svm import SVC

        k = int(z.max()) + 1
        weights, bias, wide = np.zeros((len(X), k)), np.zeros(k), X.astype(np.float64)
        for number in range(k):
            machine = SVC(C=self.C, gamma=self.rate_, cache_size=500).fit(wide, z == number)
            weights[machine.support_, number] = machine.dual_coef_[0]
            bias[number] = machine.intercept_[0]
        self._keep(X, weights, bias)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Shares that sum to one, row by row."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def build(params: Mapping[str, Any], context: BuildContext) -> Tabular:
    """An unfitted support vector machine; `gamma` is per feature (1.0: scikit-learn's "auto")."""
    if context.problem == "classification":
        core = ClassificationCore(params["C"], params["gamma"], context.seed)
        return Tabular(core, context, scale=True, max_rows=params["max_rows"])
    tube = RegressionCore(params["C"], params["gamma"], params["epsilon"], context.seed)
    return Tabular(tube, context, params["target"], scale=True, max_rows=params["max_rows"])


SPEC = ModelSpec(
    name="svm",
    family="svm",
    build=build,
    to_onnx=to_onnx,
    defaults={
        "regression": {"C": 2.0, "gamma": 0.3, "epsilon": 0.2, "target": "log", "max_rows": 6000},
        "classification": {"C": 5.0, "gamma": 0.5, "max_rows": 4000},
    },
    space={
        "regression": {
            "C": {"low": 0.1, "high": 30.0, "log": True},
            "gamma": {"low": 0.03, "high": 3.0, "log": True},
            "epsilon": {"low": 0.02, "high": 0.3, "log": True},
            "target": {"choices": ["standard", "log"]},
        },
        "classification": {
            "C": {"low": 0.1, "high": 100.0, "log": True},
            "gamma": {"low": 0.03, "high": 5.0, "log": True},
        },
    },
    description="Support vector machine with a Gaussian kernel",
)
