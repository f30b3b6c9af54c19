"""One column per category; an unknown category is all zeros, and a missing one is the category ""."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from tideline.transforms._base import BlockTransform, make_spec
from tideline.transforms._onnx import Graph


class OneHot(BlockTransform):
    """Zeros and ones for text columns (missing is "") or for number columns (missing is no category).

    `categories` maps a column to its categories in order; a column that it leaves out has those of the fitted rows,
    sorted. Categories that only later rows have are unknown: all zeros.
    """

    def __init__(self, categories: Mapping[str, Sequence[Any]] | None = None) -> None:
        self.categories = categories

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the categories of the rows X (frame or array, n x c)."""
        values = self._cells(X, reset=True)
        for column in self.categories or {}:
            self._index(column)
        self.categories_ = [self._find_categories(c, values[:, j]) for j, c in enumerate(self._columns())]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Float64 zeros and ones (n, sum of categories)."""
        check_is_fitted(self)
        values = self._cells(X, reset=False)
        if (values.dtype.kind == "O") is not self.text_:
            raise self._fail("was fitted on " + ("text" if self.text_ else "numbers") + " and got the other")
        parts = [values[:, [j]] == known for j, known in enumerate(self.categories_)]
        return np.hstack(parts).astype(np.float64)

    def _find_categories(self, column: str, values: np.ndarray) -> np.ndarray:
        given = (self.categories or {}).get(column)
        if given is not None:
            known = np.asarray([str(v) for v in given], object) if self.text_ else np.asarray(given, np.float64)
        else:
            known = np.unique(values if self.text_ else values[~np.isnan(values)])
        if not len(known) or len(set(known)) != len(known):
            raise self._fail(f"column {column!r} has categories {list(known)!r}; expected at least one, each once")
        return known

    def _cells(self, X: Any, reset: bool) -> np.ndarray:
        values = np.asarray(validate_data(self, X, reset=reset, dtype=None, ensure_all_finite=False))
        if values.dtype.kind in "biuf":
            cells = values.astype(np.float64)
        else:
            missing = np.frompyfunc(lambda v: v is None or v != v, 1, 1)(values).astype(bool)
            cells = np.where(missing, "", values.astype(object))
        if reset:
            self.text_ = cells.dtype.kind == "O"
        return cells

    def _names(self, columns: list[str]) -> list[str]:
        pairs = zip(columns, self.categories_, strict=True)
        return [f"{c}={v if self.text_ else format(v, 'g')}" for c, known in pairs for v in known]

    def emit(self, graph: Graph, x: str) -> str:
        from onnx import TensorProto

        parts = [graph.add("Equal", graph.columns(x, [j]), known[None, :]) for j, known in enumerate(self.categories_)]
        joined = parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1)
        return str(graph.add("Cast", joined, to=TensorProto.DOUBLE))


def _example() -> tuple[Any, Any]:
    import pandas as pd

    random = np.random.default_rng(0)
    frame = pd.DataFrame({c: random.choice(["INLAND", "NEAR BAY", "ISLAND", ""], 200) for c in "ab"}, dtype="str")
    frame.loc[::17, "a"] = None
    return frame, random.normal(size=200)


SPEC = make_spec("one_hot", OneHot, _example, "one column per category, unknowns all zero")
