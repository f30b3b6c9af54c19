"""What the nearest training rows say: their target, their target per income, their make-up, weighted in several ways.

Out-of-fold when fitted: each training row asks only rows of other groups, so that no row sees its own target. In ONNX
the search is one MatMul and one TopK over the reference rows, and every mean is one batched MatMul.
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
RIDGE, PRIOR_SLOPE = 0.05, 0.5  # of the local regression on log `per`
EFFECTS = ("price", "deviation", "per", "local_price", "slope")


class Neighbours(BlockTransform):
    """Features from the k nearest training rows; the target must be positive (its log is averaged).

    coordinates: column -> scale; the distance is Euclidean in scaled coordinates (for places: km per degree).
    per: column by which the target is also divided (income). similar: column -> width of a Gaussian kernel;
    `logged` columns enter by their log. ks: numbers of neighbours. groups: number of random groups for
    the out-of-fold pass, drawn with `seed`.

    Source: Nadaraya-Watson kernel means (1964), local ridge regression (Cleveland 1979), out-of-fold target encoding.
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
    ) -> None:
        self.coordinates = coordinates
        self.per = per
        self.similar = similar
        self.logged = logged
        self.ks = ks
        self.make_up = make_up
        self.groups = groups
        self.seed = seed

    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> np.ndarray:
        """Features of the training rows (n, f), none of which saw a target of its own group."""
        self.fit(X, y)
        values = self._numbers(X, reset=False)
        draw = np.random.default_rng(self.seed)
        group = draw.permutation(len(values)) % min(self.groups, len(values))
        places, described = self._place(values), self._describe(values)
        return self._features(places, described, self.reference_.search(places, group))

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
        self.width_ = np.asarray(list(self.similar.values()), np.float64)
        self.is_logged_ = np.asarray([c in set(self.logged) for c in self.similar])
        self.per_ = list(self.similar).index(self.per)
        self.centre_ = (X[:, self.place_columns_] * self.scale_).mean(axis=0)
        log_target = np.log(np.asarray(y, np.float64))
        self.level_ = float(log_target.mean())
        self.reference_ = Reference(self._place(X), most)
        described = self._describe(X)
        target = log_target - self.level_
        self.table_ = np.column_stack([self._place(X), target, target - described[:, self.per_], described])
        self.averages_ = _averaging(self.ks, most), _averaging(self.make_up, most)

    def _place(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(X[:, self.place_columns_] * self.scale_ - self.centre_)

    def _describe(self, X: np.ndarray) -> np.ndarray:
        values = X[:, self.described_columns_]
        return np.asarray(np.where(self.is_logged_, np.log(np.maximum(values, 1e-3)), values))

    def _apply(self, X: np.ndarray) -> np.ndarray:
        places = self._place(X)
        return self._features(places, self._describe(X), self.reference_.search(places))

    def _features(self, places: np.ndarray, described: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Features (n, f) from the numbers of the nearest rows (n, k); in chunks that stay in the cache."""
        parts = [
            self._chunk(places[i : i + 1024], described[i : i + 1024], self.table_[found[i : i + 1024]])
            for i in range(0, len(places), 1024)
        ]
        return np.concatenate(parts)

    def _chunk(self, places: np.ndarray, described: np.ndarray, near: np.ndarray) -> np.ndarray:
        d = places.shape[1]
        offset = near[:, :, :d] - places[:, None]
        distance = np.sqrt((offset * offset).sum(axis=2))
        target, per, make_up = near[:, :, d], near[:, :, d + 1], near[:, :, d + 2 :]
        difference = make_up - described[:, None]
        n = len(places)
        plain = np.matmul(self.averages_[0].T, np.stack([target, target * target, per], axis=2))
        around = np.matmul(self.averages_[1].T, make_up)
        gap = difference[:, :, self.per_]
        weights = _kernels.weigh(distance, difference / self.width_, gap)
        values = np.stack([target, target * target, per, gap, gap * gap, gap * target], axis=2)
        moments = np.matmul(weights, values) / weights.sum(axis=2, keepdims=True)
        mean, square, by, x, xx, xy = (moments[:, :, i] for i in range(6))
        slope = (xy - x * mean + RIDGE * PRIOR_SLOPE) / (xx - x * x + RIDGE)
        features = np.concatenate(
            [
                np.log(distance[:, [k - 1 for k in self.ks]] + 0.1),
                target[:, :3] + self.level_,
                plain[:, :, 0] + self.level_,
                np.sqrt(np.maximum(plain[:, :, 1] - plain[:, :, 0] ** 2, 0) + VARIANCE_FLOOR),
                plain[:, :, 2],
                around.reshape(n, -1),
                (around - described[:, None]).reshape(n, -1),
                np.exp(mean + self.level_),
                np.sqrt(np.maximum(square - mean * mean, 0) + VARIANCE_FLOOR),
                by,
                np.exp(mean - slope * x + self.level_),
                slope,
            ],
            axis=1,
        )
        return np.asarray(np.rint(features * GRID) / GRID)

    def _names(self, columns: list[str]) -> list[str]:
        similar = list(self.similar or {})
        return [
            *(f"distance_{k}" for k in self.ks),
            *(f"log_target_of_neighbour_{i}" for i in (1, 2, 3)),
            *(f"{what}_{k}" for what in ("log_target", "deviation", "log_target_per") for k in self.ks),
            *(f"{c}_around_{k}" for k in self.make_up for c in similar),
            *(f"{c}_against_{k}" for k in self.make_up for c in similar),
            *(f"{effect}_{kernel}" for effect in EFFECTS for kernel in _kernels.NAMES),
        ]

    def emit(self, graph: Graph, x: str) -> str:
        add, d = graph.add, len(self.place_columns_)
        table, level = self.table_, np.float64(self.level_)
        places = add("Sub", add("Mul", graph.columns(x, self.place_columns_), self.scale_), self.centre_)
        raw = graph.columns(x, self.described_columns_)
        described = add("Where", self.is_logged_[None], add("Log", add("Max", raw, np.float64(1e-3))), raw)
        near = add("Gather", table, self.reference_.emit(graph, places), axis=0)

        def part(start: int, stop: int) -> Any:
            return add("Slice", near, np.array([start]), np.array([stop]), np.array([2]))

        own = add("Unsqueeze", described, np.array([1]))
        offset = add("Sub", part(0, d), add("Unsqueeze", places, np.array([1])))
        squares = add("ReduceSum", add("Mul", offset, offset), np.array([2]), keepdims=1)
        distance = add("Sqrt", squares)  # [n, k, 1]
        target, per, make_up = part(d, d + 1), part(d + 1, d + 2), part(d + 2, table.shape[1])
        difference = add("Sub", make_up, own)
        square = add("Mul", target, target)
        plain = add("MatMul", self.averages_[0].T, add("Concat", target, square, per, axis=2))
        around = add("MatMul", self.averages_[1].T, make_up)
        gap = add("Gather", difference, np.array([self.per_]), axis=2)
        weights = _kernels.emit(graph, distance, add("Div", difference, self.width_), gap)
        values = add("Concat", target, square, per, gap, add("Mul", gap, gap), add("Mul", gap, target), axis=2)
        total = add("ReduceSum", weights, np.array([2]), keepdims=1)
        moments = add("Div", add("MatMul", weights, values), total)

        def column(of: Any, i: int) -> Any:
            return add("Gather", of, np.int64(i), axis=2)

        mean, second, by, gx, gxx, gxy = (column(moments, i) for i in range(6))
        above = add("Add", add("Sub", gxy, add("Mul", gx, mean)), np.float64(RIDGE * PRIOR_SLOPE))
        slope = add("Div", above, add("Add", add("Sub", gxx, add("Mul", gx, gx)), np.float64(RIDGE)))

        def deviation(of_square: Any, of_mean: Any) -> Any:
            spread = add("Max", add("Sub", of_square, add("Mul", of_mean, of_mean)), np.float64(0))
            return add("Sqrt", add("Add", spread, np.float64(VARIANCE_FLOOR)))

        def price(log: Any) -> Any:
            return add("Exp", add("Add", log, level))

        def flat(of: Any) -> Any:
            return add("Reshape", of, np.array([0, -1]))

        places_of_k = np.array([k - 1 for k in self.ks])
        features = add(
            "Concat",
            flat(add("Log", add("Add", add("Gather", distance, places_of_k, axis=1), np.float64(0.1)))),
            add("Add", flat(add("Gather", target, np.array([0, 1, 2]), axis=1)), level),
            add("Add", column(plain, 0), level),
            deviation(column(plain, 1), column(plain, 0)),
            column(plain, 2),
            flat(around),
            flat(add("Sub", around, own)),
            price(mean),
            deviation(second, mean),
            by,
            price(add("Sub", mean, add("Mul", slope, gx))),
            slope,
            axis=1,
        )
        return str(add("Div", add("Round", add("Mul", features, np.float64(GRID))), np.float64(GRID)))


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
