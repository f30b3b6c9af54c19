"""The shape that all transforms share: checked input, names, and one place that names the culprit of an error."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import (
    _check_feature_names_in,
    check_is_fitted,
    validate_data,
)

from tideline.contracts import TidelineError, TransformSpec
from tideline.transforms._onnx import Graph, register_transform


class BlockTransform(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A transformer from numeric columns (n, c) to float64 features (n, f), and its ONNX nodes.

    Subclasses fill `_learn`, `_apply`, `_names` and `emit`. Missing values are NaN; infinite input is refused.
    """

    def _learn(self, X: np.ndarray, y: np.ndarray | None) -> None:
        """Validate the parameters and learn from X (n, c), y (n,) or None."""

    def _apply(self, X: np.ndarray) -> np.ndarray:
        """Features of X; must not change X."""
        raise NotImplementedError

    def _names(self, columns: list[str]) -> list[str]:
        """Names of the features, given the names of the columns."""
        raise NotImplementedError

    def emit(self, graph: Graph, x: str) -> str:
        """Write the same computation as ONNX nodes on x (double [n, c]); returns the name of double [n, f]."""
        raise NotImplementedError

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from the rows X (frame or array of numbers); raises TidelineError if a parameter does not fit them."""
        self._learn(self._numbers(X, reset=True), None if y is None else np.asarray(y))
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Float64 features (n, f)."""
        check_is_fitted(self)
        return self._apply(self._numbers(X, reset=False))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the features, from the names seen when fitted (x0, x1, ... without names)."""
        check_is_fitted(self, "n_features_in_")
        return np.asarray(self._names(list(_check_feature_names_in(self, input_features))), dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_in_")

    def _numbers(self, X: Any, reset: bool) -> np.ndarray:
        values = validate_data(self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan")
        return np.asarray(values)

    def _columns(self) -> list[str]:
        """Names of the columns seen when fitted."""
        return list(_check_feature_names_in(self, None))

    def _index(self, name: str) -> int:
        """Position of a column; an unknown name is an error that says which was meant."""
        return find_name(name, self._columns(), f"{type(self).__name__}: column")

    def _fail(self, reason: str) -> TidelineError:
        return TidelineError(f"{type(self).__name__}: {reason}")


def find_name(name: str, known: Sequence[str], place: str) -> int:
    """Position of `name` in `known`, or a TidelineError with the closest one."""
    if name in known:
        return list(known).index(name)
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
    raise TidelineError(f"{place} {name!r} is unknown; {hint}")


def check_names(names: Iterable[str], known: Sequence[str], place: str) -> None:
    """Raise a TidelineError for the first name that is not known."""
    for name in names:
        find_name(name, known, place)


def make_spec(
    name: str,
    kind: type[Any],
    example: Callable[[], tuple[Any, Any]],
    description: str,
    uses_target: bool = False,
) -> TransformSpec:
    """The catalogue's record of a transformer class; `build` refuses unknown parameters by name."""

    def build(params: Mapping[str, Any]) -> Any:
        check_names(params, kind._get_param_names(), f"transform {name}: parameter")
        return kind(**params)

    return TransformSpec(name, build, partial(register_transform, kind), uses_target, example, description)


def example_frame(columns: Mapping[str, tuple[float, float]], rows: int = 200, seed: int = 0) -> tuple[Any, Any]:
    """Seeded rows, uniform between the limits of each column, with a target that depends on them (for tests)."""
    import pandas as pd

    random = np.random.default_rng(seed)
    frame = pd.DataFrame({n: random.uniform(low, high, rows) for n, (low, high) in columns.items()})
    return frame, frame.sum(axis=1).to_numpy() + random.normal(0, 1, rows)
