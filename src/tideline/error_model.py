"""Direct loss estimation: how wrong the model will be on a row, told from the row and its prediction, without a label.

A small boosted tree ensemble is fitted to the absolute errors of the out-of-fold predictions (for classes: 1 where the
likeliest class was wrong), and travels in the bundle's reference as plain arrays. It sees a change of the rows towards
harder or easier ones, not a change of the law between row and target: for that there are labels.

Sources: J. Friedman, "Greedy function approximation: a gradient boosting machine" (2001); the use for monitoring is
NannyML's "Direct Loss Estimation" (2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tideline.contracts import Manifest, Task

TREES, RATE, DEPTH, LEAF = 60, 0.1, 3, 50
SHARE = 0.5  # of the rows, for each tree
FOLDS = 2  # for the skill
MOST = 20_000  # rows that are fitted
LARGEST = float(np.finfo(np.float64).max)
Floats = NDArray[np.float64]
_ARRAYS = ("feature", "threshold", "left", "right", "missing_left", "value")


@dataclass(frozen=True)
class ErrorModel:
    """A fitted estimator of absolute errors.

    names: columns in order, the prediction comes last. categories: of the text columns. trees: arrays by node; a leaf
    has feature -1. mean, deviation: of the estimates over the validated rows. skill: 1 - squared error of
    estimating rows that were not fitted / that of their mean, at most 1.
    """

    names: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    base: float
    trees: tuple[Mapping[str, list[Any]], ...]
    mean: float
    deviation: float
    skill: float

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Rebuild from JSON values (`asdict`)."""
        categories = {name: tuple(values) for name, values in raw["categories"].items()}
        return cls(**{**raw, "names": tuple(raw["names"]), "categories": categories, "trees": tuple(raw["trees"])})

    def estimate(self, columns: Mapping[str, NDArray[np.generic]], predicted: Floats) -> Floats:
        """Expected absolute error (n,) of rows, in the target's unit; for classes the chance of being wrong.

        `columns` as `Predictor.predict` takes them, `predicted` as `fit_error_model` takes it.
        """
        stacked = stack_columns(self.names, self.categories, columns, predicted)
        return np.maximum(0.0, _sum_trees(self.base, self.trees, stacked))


def fit_error_model(
    contract: Task | Manifest,
    columns: Mapping[str, NDArray[np.generic]],
    predicted: Floats,
    errors: Floats,
    seed: int,
) -> ErrorModel:
    """Fit on n validated rows: `columns` as `Predictor.predict` takes them, `predicted` (n,) the predicted values (for
    classes the likeliest one's probability), `errors` (n,) the absolute errors. Seeded; of more than 20,000 rows a
    sample is taken."""
    names = tuple(c.name for c in contract.columns)
    categories = {
        c.name: tuple(sorted(set(map(str, columns[c.name].tolist())) - {""})) for c in contract.columns if c.is_text
    }
    X = stack_columns(names, categories, columns, predicted)
    if len(errors) > MOST:
        chosen = np.random.default_rng(seed).choice(len(errors), size=MOST, replace=False)
        X, errors = X[chosen], errors[chosen]
    base, trees = _boost(X, errors, seed)
    estimates = np.maximum(0.0, _sum_trees(base, trees, X))
    fold = np.random.default_rng(seed).permutation(len(errors)) % FOLDS
    blind = np.empty(len(errors))
    for k in range(FOLDS):
        blind[fold == k] = _sum_trees(*_boost(X[fold != k], errors[fold != k], seed), X[fold == k])
    spread = float(np.sum((errors - errors.mean()) ** 2))
    skill = 1 - float(np.sum((errors - blind) ** 2)) / spread if spread else 0.0
    return ErrorModel(
        names, categories, base, tuple(trees), float(estimates.mean()), float(estimates.std()), round(skill, 6)
    )


def stack_columns(
    names: tuple[str, ...],
    categories: Mapping[str, tuple[str, ...]],
    columns: Mapping[str, NDArray[np.generic]],
    predicted: Floats,
) -> NDArray[np.float32]:
    """Rows as float32 (n, columns + 1): numbers as they are, categories by their place (unknown: NaN), prediction."""
    stacked = np.empty((len(predicted), len(names) + 1), dtype=np.float32)
    for i, name in enumerate(names):
        values = np.asarray(columns[name]).reshape(-1)
        if name in categories:
            places = {text: float(place) for place, text in enumerate(categories[name])}
            stacked[:, i] = [places.get(text, np.nan) for text in values.tolist()]
        else:
            stacked[:, i] = values
    stacked[:, -1] = predicted
    return stacked


def _boost(X: NDArray[np.float32], errors: Floats, seed: int) -> tuple[float, list[dict[str, list[Any]]]]:
    """Least squares, each tree on half of the rows."""
    from sklearn.tree import DecisionTreeRegressor

    random = np.random.default_rng(seed)
    base = float(errors.mean())
    rest, trees = errors - base, []
    for number in range(TREES):
        rows = random.random(len(rest)) < SHARE
        if not rows.any():
            continue
        grown = DecisionTreeRegressor(max_depth=DEPTH, min_samples_leaf=LEAF, random_state=seed + number)
        tree = grown.fit(X[rows], rest[rows]).tree_
        trees.append(
            {
                "feature": np.maximum(tree.feature, -1).tolist(),
                # Infinite where only missing values part the rows, which JSON cannot say.
                "threshold": np.clip(tree.threshold, -LARGEST, LARGEST).tolist(),
                "left": tree.children_left.tolist(),
                "right": tree.children_right.tolist(),
                "missing_left": tree.missing_go_to_left.astype(int).tolist(),
                "value": (RATE * tree.value[:, 0, 0]).tolist(),
            }
        )
        rest = rest - _walk(trees[-1], X)
    return base, trees


def _sum_trees(base: float, trees: Any, X: NDArray[np.float32]) -> Floats:
    return base + sum((_walk(tree, X) for tree in trees), np.zeros(len(X)))


def _walk(tree: Mapping[str, list[Any]], X: NDArray[np.float32]) -> Floats:
    """The value (n,) of the leaf that each row falls into."""
    feature, threshold, left, right, missing_left, value = (np.asarray(tree[key]) for key in _ARRAYS)
    rows, place = np.arange(len(X)), np.zeros(len(X), dtype=np.int64)
    while (inner := feature[place] >= 0).any():
        rows_in, at = rows[inner], place[inner]
        found = X[rows_in, feature[at]]
        goes_left = np.where(np.isnan(found), missing_left[at] > 0, found <= threshold[at])
        place[rows_in] = np.where(goes_left, left[at], right[at])
    return np.asarray(value[place], dtype=np.float64)
