"""The shell around every family's core: rows, inputs, target, classes and bounds, in Python and in the graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from tideline.contracts import BuildContext, TidelineError
from tideline.families.onnx import Net
from tideline.families.scaling import Scaler
from tideline.families.target import Target

if TYPE_CHECKING:
    import onnx


class Core(Protocol):
    """What a family writes itself.

    `fit` gets float32 X and, for regression, the transformed target z (float64), for classification
    class numbers 0..k-1 without gaps. `predict` gives float64 (n,) or probabilities (n, k).
    `emit` adds the same to a net and names a float64 tensor [n, 1] or [n, k].
    """

    def fit(self, X: np.ndarray, z: np.ndarray) -> None: ...
    def predict(self, X: np.ndarray) -> np.ndarray: ...
    def emit(self, net: Net, x: str) -> str: ...


class Tabular:
    """A fitted family: scikit-learn's fit and predict on float32 matrices.

    `target` is one of `target.MODES`; `scale` standardises the inputs; `max_rows` (0: all) caps the rows
    that are learnt from by a seeded draw (for time-ordered tasks the last ones), which `rows_` states.
    """

    def __init__(
        self, core: Core, context: BuildContext, target: str = "none", scale: bool = False, max_rows: int = 0
    ) -> None:
        self.core = core
        self.context = context
        self.target = target
        self.scale = scale
        self.max_rows = max_rows

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Learn from X float32 (n, n_features) and y, float64 or class numbers (n,)."""
        X = check_matrix(X)
        self.n_features_in_ = X.shape[1]
        rows = self._choose_rows(len(X))
        self.rows_ = len(rows)
        if len(rows) < len(X):
            X, y = X[rows], y[rows]
        self.scaler_ = Scaler.fit(X) if self.scale else None
        if self.context.problem == "regression":
            self.target_ = Target.fit(y, self.target)
            z = self.target_.forward(y)
        else:
            self.classes_, z = np.unique(y, return_inverse=True)
            if len(self.classes_) < 2:
                raise TidelineError(f"only class {self.classes_.tolist()} is in the {len(y)} rows to learn from")
        self.core.fit(self._inputs(X), z)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Regression: float64 (n,) in the target's units, within the task's bounds. Else class numbers (n,)."""
        if self.context.problem == "classification":
            numbers: np.ndarray = self.predict_proba(X).argmax(axis=1)
            return numbers
        return self._answer(self.core.predict(self._inputs(check_matrix(X))))

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Probabilities float64 (n, n_classes); a class that was never seen has probability 0."""
        return self._answer(self.core.predict(self._inputs(check_matrix(X))))

    @property
    def has_stages(self) -> bool:
        """True if the family can tell what it would have answered earlier in its training."""
        return hasattr(self.core, "stages")

    def stages(self, X: np.ndarray) -> Iterator[np.ndarray]:
        """Answers (as `predict` or `predict_proba` would give) after equal shares of the training."""
        for out in self.core.stages(self._inputs(check_matrix(X))):  # type: ignore[attr-defined]
            yield self._answer(out)

    @property
    def curve_(self) -> Mapping[str, list[float]] | None:
        """Losses by step, {"train", "validation"}, if the family records them."""
        return getattr(self.core, "curve_", None)

    @property
    def device_(self) -> str:
        """Where the family computed."""
        return getattr(self.core, "device_", "cpu")

    def to_net(self, n_features: int) -> onnx.ModelProto:
        """The fitted model as one checked graph from `X`."""
        if n_features != self.n_features_in_:
            raise TidelineError(f"the model was fitted on {self.n_features_in_} features, not {n_features}")
        net = Net(n_features)
        x = "X" if self.scaler_ is None else self.scaler_.emit(net, "X")
        out = self.core.emit(net, x)
        if self.context.problem == "regression":
            out = net.cast(self.target_.emit(net, out), np.float32)
            if self.context.clip is not None:
                low, high = (net.const(np.float32(bound)) for bound in self.context.clip)
                out = net.op("Clip", out, low, high)
            return net.finish(out, "regression", 1)
        if len(self.classes_) < self.context.n_classes:
            out = net.op("MatMul", out, net.const(np.eye(self.context.n_classes)[self.classes_]))
        return net.finish(net.cast(out, np.float32), "classification", self.context.n_classes)

    def _answer(self, out: np.ndarray) -> np.ndarray:
        """From the core's output to the target's units within bounds, or to all of the task's classes."""
        if self.context.problem == "regression":
            values = self.target_.inverse(out)
            return values if self.context.clip is None else np.clip(values, *self.context.clip)
        full = np.zeros((len(out), self.context.n_classes))
        full[:, self.classes_] = out
        return full

    def _inputs(self, X: np.ndarray) -> np.ndarray:
        return X if self.scaler_ is None else self.scaler_.transform(X)

    def _choose_rows(self, n: int) -> np.ndarray:
        if not 0 < self.max_rows < n:
            return np.arange(n)
        if self.context.time_ordered:
            return np.arange(n - self.max_rows, n)
        return np.sort(np.random.default_rng(self.context.seed).permutation(n)[: self.max_rows])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "context": replace(self.context, epoch_callback=None, cluster=None)}


def check_matrix(X: np.ndarray) -> np.ndarray:
    """X itself, if it is what every family takes: a float32 matrix, so that training sees the values of the graph."""
    if X.ndim != 2 or X.dtype != np.float32:
        raise TidelineError(f"a model takes a float32 matrix, this is {X.dtype} with shape {X.shape}")
    return X


def to_onnx(estimator: Any, n_features: int, context: BuildContext) -> onnx.ModelProto:
    """`ModelSpec.to_onnx` of all families that live in a `Tabular` shell."""
    if not isinstance(estimator, Tabular):
        raise TidelineError(f"expected a fitted Tabular model, got {type(estimator).__name__}")
    model: onnx.ModelProto = estimator.to_net(n_features)
    return model
