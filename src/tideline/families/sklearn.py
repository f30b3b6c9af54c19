"""scikit-learn's trees, forests and histogram boosting as cores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tideline.families.onnx import Net
from tideline.families.trees import CUTS, Tree, emit_trees, share_columns


class ForestCore:
    """One tree or the mean of many; `make` is scikit-learn's class for the problem, `params` its arguments."""

    def __init__(self, make: Callable[[], Any], params: Mapping[str, Any], problem: str) -> None:
        self.make = make
        self.params = dict(params)
        self.problem = problem

    def fit(self, X: np.ndarray, z: np.ndarray) -> None:
        self.model_ = self.make()(**_scale_columns(self.params, X)).fit(X, z)
        if hasattr(self.model_, "n_jobs"):
            self.model_.n_jobs = 1  # several threads would add up the trees in an order that changes

    def predict(self, X: np.ndarray) -> np.ndarray:
        out: np.ndarray = self.model_.predict(X) if self.problem == "regression" else self.model_.predict_proba(X)
        return out

    def emit(self, net: Net, x: str) -> str:
        members: Sequence[Any] = getattr(self.model_, "estimators_", [self.model_])
        trees = [self._read_tree(member.tree_, len(members)) for member in members]
        width = trees[0].value.shape[1]
        return emit_trees(net, x, trees, width, cuts=range(50, len(trees), 50))

    def _read_tree(self, raw: Any, members: int) -> Tree:
        value = raw.value[:, 0, :]
        if self.problem == "classification":
            value = value / value.sum(axis=1, keepdims=True)
        return Tree(
            feature=raw.feature,
            threshold=raw.threshold,
            left=raw.children_left,
            right=raw.children_right,
            missing_left=raw.missing_go_to_left.astype(bool),
            value=value / members,
        )


class HistogramCore:
    """scikit-learn's histogram gradient boosting; stops early on a held-out part and keeps its curve."""

    def __init__(self, params: Mapping[str, Any], problem: str) -> None:
        self.params = dict(params)
        self.problem = problem

    def fit(self, X: np.ndarray, z: np.ndarray) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        make: Any = HistGradientBoostingRegressor if self.problem == "regression" else HistGradientBoostingClassifier
        self.model_ = make(**_scale_columns(self.params, X)).fit(X, z)
        train, validation = self.model_.train_score_, self.model_.validation_score_
        if len(validation):
            self.curve_ = {"train": (-train).tolist(), "validation": (-validation).tolist()}

    def predict(self, X: np.ndarray) -> np.ndarray:
        out: np.ndarray = self.model_.predict(X) if self.problem == "regression" else self.model_.predict_proba(X)
        return out

    def emit(self, net: Net, x: str) -> str:
        baseline = np.asarray(self.model_._baseline_prediction, np.float64).reshape(-1)
        trees = [
            self._read_tree(predictor.nodes, first)
            for stage in self.model_._predictors
            for first, predictor in enumerate(stage)
        ]
        out = net.op("Add", emit_trees(net, x, trees, len(baseline), CUTS), net.const(baseline))
        return out if self.problem == "regression" else emit_shares(net, out, len(baseline))

    @staticmethod
    def _read_tree(nodes: np.ndarray, first: int) -> Tree:
        leaf = nodes["is_leaf"].astype(bool)
        return Tree(
            feature=nodes["feature_idx"],
            threshold=nodes["num_threshold"],
            left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
            right=np.where(leaf, -1, nodes["right"].astype(np.int64)),
            missing_left=nodes["missing_go_to_left"].astype(bool),
            value=nodes["value"][:, None],
            first=first,
        )


def _scale_columns(params: Mapping[str, Any], X: np.ndarray) -> dict[str, Any]:
    share = params.get("max_features")
    return {**params, "max_features": share_columns(share, X.shape[1])} if isinstance(share, float) else dict(params)


def emit_shares(net: Net, scores: str, width: int) -> str:
    """Probabilities from boosting's scores float64 [n, width]: a sigmoid of one, or a softmax of many."""
    if width > 1:
        return net.op("Softmax", scores, axis=1)
    yes = net.op("Sigmoid", scores)
    return net.op("Concat", net.op("Sub", net.const(np.float64(1.0)), yes), yes, axis=1)
