"""What the nearest training rows say: their target, their target per income, their make-up, weighted in several ways.

Out-of-fold when fitted: each training row asks only rows of other groups, so that no row sees its own target. All
means of one kind are one batched MatMul, with the neighbours as last axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tideline.transforms import _kernels
from tideline.transforms._base import BlockTransform, make_spec
from tideline.transforms._neighbour_search import Reference
from tideline.transforms._onnx import Graph

VARIANCE_FLOOR = 1e-6  # keeps the root of a difference of squares away from rounding noise
GRID = 1e6  # features are rounded to a millionth: a difference that is zero but for rounding is zero, in both worlds
EFFECTS = ("price", "deviation", "per")
CHUNK = 512


class Neighbours(BlockTransform):
    """Features from the k nearest training rows; the target must be positive (its log is averaged).

    coordinates: column -> scale; the distance is Euclidean in scaled coordinates (for places: km per degree).
    per: column by which the target is also divided (income). similar: column -> width of a Gaussian kernel;
    `logged` columns enter by their log. ks: numbers of neighbours. groups: number of random groups for
    the out-of-fold pass, drawn with `seed`. keep: the columns themselves come first.

    Source: Nadaraya-Watson kernel means (1964), out-of-fold target encoding.
    """

    def __init__(
        self,
        coordinates: Mapping[str, float] | None = None,
        per: str = "",
        similar: Mapping[str, float] | None = None,
        logged: Sequence[str] = (),
        ks: Sequence[int] = (3, 5, 10, 20, 50, 100),
        make_up: Sequence[int] = (5, 20, 100),
        groups: int = 20,
        seed: int = 0,
        keep: bool = False,
    ) -> None:
        self.coordinates = coordinates
        self.per = per
        self.similar = similar
        self.logged = logged
        self.ks = ks
        self.make_up = make_up
        self.groups = groups
        self.seed = seed
        self.keep = keep

    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> np.ndarray:
        """Features of the training rows (n, f), none of which saw a target of its own group."""
        self.fit(X, y)
        values = self._numbers(X, reset=False)
        draw = np.random.default_rng(self.seed)
        group = draw.permutation(len(values)) % min(self.groups, len(values))
        return self._features(values, group)

    def _learn(self, X: np.ndarray, y: np.ndarray | None) -> None:
        if y is None:
            raise self._fail("needs the target to be fitted")
        if not self.coordinates or not self.similar or self.per not in self.similar:
            raise self._fail(
                "needs `coordinates` (column -> scale), `similar` (column -> width) and `per`, one of them"
            )
        if np.isnan(X).any() or not np.all(y > 0):
            raise self._fail("takes no missing values and a target above zero; put impute_median before it")
        most = int(max(*self.ks, *self.make_up))
        if most > len(X) * (1 - 2 / self.groups):
            raise self._fail(f"k = {most} is too many for {len(X)} training rows; lower ks")
        self.place_columns_ = [self._index(c) for c in self.coordinates]
        self.scale_ = np.asarray(list(self.coordinates.values()), np.float64)
        self.described_columns_ = [self._index(c) for c in self.similar]
        self.width_ = np.asarray(list(self.similar.values()), np.float64)[:, None]
        self.is_logged_ = np.asarray([c in set(self.logged) for c in self.similar])
        self.per_ = list(self.similar).index(self.per)
        self.centre_ = (X[:, self.place_columns_] * self.scale_).mean(axis=0)
        log_target = np.log(np.asarray(y, np.float64))
        self.level_ = float(log_target.mean())
        self.reference_ = Reference(self._place(X), most)
        described = self._describe(X)
        target = log_target - self.level_
        self.table_ = np.column_stack([target, target * target, target - described[:, self.per_], described])
        self.averages_ = _averaging(self.ks, most), _averaging(self.make_up, most)

    def _place(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(X[:, self.place_columns_] * self.scale_ - self.centre_)

    def _describe(self, X: np.ndarray) -> np.ndarray:
        values = X[:, self.described_columns_]
        return np.asarray(np.where(self.is_logged_, np.log(np.maximum(values, 1e-3)), values))

    def _apply(self, X: np.ndarray) -> np.ndarray:
        return self._features(X)

    def _features(self, X: np.ndarray, group: np.ndarray | None = None) -> np.ndarray:
        """Features (n, f); in chunks that stay in the cache."""
        described = self._describe(X)
        rows, squares = self.reference_.search(self._place(X), group)
        spans = [slice(start, start + CHUNK) for start in range(0, len(X), CHUNK)]
        parts = [self._chunk(described[span], self.table_[rows[span]], np.sqrt(squares[span])) for span in spans]
        features = np.concatenate(parts)
        return np.hstack([X, features]) if self.keep else features

    def _chunk(self, described: np.ndarray, neighbours: np.ndarray, distance: np.ndarray) -> np.ndarray:
        near = neighbours.transpose(0, 2, 1).copy()  # (n, columns of the table, k): neighbours last from here on
        own, values, make_up = described[:, :, None], near[:, :3], near[:, 3:]
        difference = make_up - own
        mean, square, per = np.split(values @ self.averages_[0], 3, axis=1)
        spread = np.sqrt(np.maximum(square - mean * mean, VARIANCE_FLOOR))
        around = make_up @ self.averages_[1]
        weights = _kernels.weigh(distance[:, None], difference / self.width_, difference[:, [self.per_]])
        moments = weights @ values.transpose(0, 2, 1) / weights.sum(axis=2, keepdims=True)
        level, second, by = np.split(moments, 3, axis=2)
        price = np.exp(level + self.level_)
        deviation = np.sqrt(np.maximum(second - level * level, VARIANCE_FLOOR))
        parts = [
            np.log(distance[:, self._ranks()] + 0.1),
            np.concatenate([np.concatenate([values[:, :1, :3], mean], axis=2) + self.level_, spread, per], axis=2),
            np.concatenate([around, around - own], axis=2),
            np.concatenate([price, deviation, by], axis=2),
        ]
        features = np.concatenate([part.reshape(len(near), -1) for part in parts], axis=1)
        return np.asarray(np.rint(features * GRID) / GRID)

    def _ranks(self) -> np.ndarray:
        return np.array([k - 1 for k in self.ks])

    def _names(self, columns: list[str]) -> list[str]:
        return [
            *(columns if self.keep else []),
            *(f"distance_{k}" for k in self.ks),
            *(f"log_target_of_neighbour_{i}" for i in (1, 2, 3)),
            *(f"{what}_{k}" for what in ("log_target", "deviation", "log_target_per") for k in self.ks),
            *(f"{c}_{what}_{k}" for c in self.similar or {} for what in ("around", "against") for k in self.make_up),
            *(f"{effect}_{kernel}" for kernel in _kernels.NAMES for effect in EFFECTS),
        ]

    def emit(self, graph: Graph, x: str) -> str:
        add = graph.add
        places = add("Sub", add("Mul", graph.columns(x, self.place_columns_), self.scale_), self.centre_)
        raw = graph.columns(x, self.described_columns_)
        described = add("Where", self.is_logged_[None], add("Log", add("Max", raw, np.float64(1e-3))), raw)
        rows, squares = self.reference_.emit(graph, places)
        distance = add("Sqrt", squares)
        near = add("Transpose", add("Gather", self.table_, rows, axis=0), perm=[0, 2, 1])
        own = add("Unsqueeze", described, np.array([2]))
        values, make_up = _split(graph, near, [3, self.table_.shape[1] - 3], axis=1)
        difference = add("Sub", make_up, own)
        mean, mean_square, mean_per = _split(graph, add("MatMul", values, self.averages_[0]), [1, 1, 1], axis=1)
        around = add("MatMul", make_up, self.averages_[1])
        gap = add("Gather", difference, np.array([self.per_]), axis=1)
        far = add("Unsqueeze", distance, np.array([1]))
        weights = _kernels.emit(graph, far, add("Div", difference, self.width_), gap)
        total = add("ReduceSum", weights, np.array([2]), keepdims=1)
        moments = add("Div", add("MatMul", weights, add("Transpose", values, perm=[0, 2, 1])), total)
        level, second, by = _split(graph, moments, [1, 1, 1], axis=2)
        price = add("Exp", add("Add", level, np.float64(self.level_)))

        def deviation(of_square: Any, of_mean: Any) -> Any:
            spread = add("Sub", of_square, add("Mul", of_mean, of_mean))
            return add("Sqrt", add("Max", spread, np.float64(VARIANCE_FLOOR)))

        def flat(*parts: Any) -> Any:
            return add("Reshape", add("Concat", *parts, axis=2), np.array([0, -1]))

        first = add("Slice", values, np.array([0, 0]), np.array([1, 3]), np.array([1, 2]))
        targets = add("Add", add("Concat", first, mean, axis=2), np.float64(self.level_))
        features = add(
            "Concat",
            add("Log", add("Add", add("Gather", distance, self._ranks(), axis=1), np.float64(0.1))),
            flat(targets, deviation(mean_square, mean), mean_per),
            flat(around, add("Sub", around, own)),
            flat(price, deviation(second, level), by),
            axis=1,
        )
        rounded = add("Div", add("Round", add("Mul", features, np.float64(GRID))), np.float64(GRID))
        return str(add("Concat", x, rounded, axis=1) if self.keep else rounded)


def _split(graph: Graph, x: str, sizes: Sequence[int], axis: int) -> list[str]:
    return list(graph.add("Split", x, np.array(sizes), axis=axis, outputs=len(sizes)))


def _averaging(ks: Sequence[int], most: int) -> np.ndarray:
    """Matrix (most, len(ks)) that averages the first k rows for each k."""
    return np.column_stack([np.where(np.arange(most) < k, 1.0 / k, 0.0) for k in ks])


def _example() -> tuple[Any, Any]:
    import pandas as pd

    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "longitude": draw.uniform(-124, -114, 400).round(2),
            "latitude": draw.uniform(32, 42, 400).round(2),
            "income": draw.uniform(0.5, 15, 400),
            "age": draw.integers(1, 52, 400).astype(float),
        }
    )
    return frame, np.exp(0.1 * frame["income"].to_numpy() + 0.1 * frame["latitude"].to_numpy())


SPEC = make_spec(
    "neighbours",
    Neighbours,
    _example,
    "what the nearest training rows say, out-of-fold when fitted",
    uses_target=True,
)
