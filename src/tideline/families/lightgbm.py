"""LightGBM: several boosters of different settings, averaged; each kept as LightGBM's own text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tideline.contracts import BuildContext, TidelineError
from tideline.families.lightgbm_cluster import train_on_cluster
from tideline.families.onnx import Net
from tideline.families.sklearn import emit_shares
from tideline.families.target import Target
from tideline.families.trees import CUTS, Tree, emit_trees, share_columns

OWN = ("members", "num_iterations", "target", "offset")
STAGES = 10
ZERO = np.float32(1e-35)  # LightGBM's kZeroThreshold


@dataclass(frozen=True)
class Offset:
    """A straight line of one column, which a booster starts from: slope * x[column] + intercept."""

    column: int
    slope: float
    intercept: float

    @classmethod
    def fit(cls, X: np.ndarray, z: np.ndarray) -> Offset:
        """The column that explains z (n,) best by a straight line. Missing values count as the mean."""
        wide = X.astype(np.float64)
        centred = np.nan_to_num(wide - np.nanmean(wide, axis=0))
        spread = np.maximum((centred**2).sum(axis=0), 1e-300)
        product = centred.T @ (z - z.mean())
        column = int(np.argmax(product**2 / spread))
        slope = float(product[column] / spread[column])
        return cls(column, slope, float(z.mean() - slope * np.nanmean(wide[:, column])))

    def values(self, X: np.ndarray) -> np.ndarray:
        """The line at every row, float64 (n,)."""
        return np.nan_to_num(X[:, self.column].astype(np.float64)) * self.slope + self.intercept

    def emit(self, net: Net, x: str) -> str:
        """`values` as a float64 tensor [n, 1]."""
        column = net.cast(net.op("Gather", x, net.const(np.array([self.column], np.int64)), axis=1), np.float64)
        filled = net.op("Where", net.op("IsNaN", column), net.const(np.float64(0.0)), column)
        return net.affine(filled, self.slope, self.intercept, np.float64)


@dataclass(frozen=True)
class Member:
    """One booster: its text, its way back to the target, and the line it started from."""

    text: str
    target: Target | None
    offset: Offset | None


class BoosterCore:
    """The mean of several boosters. Settings of a member override the common ones.

    `target` and `offset` ("none" or "best") are the member's own; all else is LightGBM's.
    """

    def __init__(self, params: Mapping[str, Any], context: BuildContext) -> None:
        self.params = dict(params)
        self.problem = context.problem
        self.seed = context.seed
        self.threads = context.threads
        self.cluster = context.cluster

    def fit(self, X: np.ndarray, z: np.ndarray) -> None:
        common = {key: value for key, value in self.params.items() if key != "members"}
        sets: dict[Any, Any] = {}
        self.width_ = 1
        if self.problem == "classification" and int(z.max()) > 1:
            self.width_ = int(z.max()) + 1
        self.members_: list[Member] = []
        for number, own in enumerate(self.params.get("members") or [{}]):
            self.members_.append(self._fit_member({**common, **own}, X, z, self.seed + number, sets))
        self._boosters: list[Any] = []

    def _fit_member(
        self, settings: Mapping[str, Any], X: np.ndarray, z: np.ndarray, seed: int, sets: dict[Any, Any]
    ) -> Member:
        import lightgbm

        arguments = {
            **{key: value for key, value in settings.items() if key not in OWN},
            "feature_fraction": share_columns(settings["feature_fraction"], X.shape[1]),
            "seed": seed,
            "num_threads": self.threads,
            "deterministic": True,
            "force_col_wise": True,
            "feature_pre_filter": False,
            "verbose": -1,
        }
        target, offset, label = None, None, z
        if self.problem == "regression":
            target = Target.fit(z, str(settings.get("target", "standard")))
            label = target.forward(z)
            if settings.get("offset", "none") == "best":
                offset = Offset.fit(X, label)
                label = label - offset.values(X)
        elif self.width_ == 1:
            arguments["objective"] = "binary"
        else:
            arguments.update(objective="multiclass", num_class=self.width_)
        rounds = settings["num_iterations"]
        if self.cluster is not None:
            booster = train_on_cluster(self.cluster, arguments, X, label, rounds)
        else:
            bins = arguments.get("max_bin", 255)
            if bins not in sets:  # members with the same bins share them
                sets[bins] = lightgbm.Dataset(X, label=label, params=arguments, free_raw_data=False)
            booster = lightgbm.train(arguments, sets[bins].set_label(label), num_boost_round=rounds)
        return Member(booster.model_to_string(), target, offset)

    def predict(self, X: np.ndarray) -> np.ndarray:
        *_, last = self.stages(X, 1)
        return last

    def stages(self, X: np.ndarray, count: int = STAGES) -> Iterator[np.ndarray]:
        """Predictions after 1/count, 2/count, ... of every booster's trees."""
        raw = [0.0] * len(self.members_)
        for step in range(1, count + 1):
            parts = []
            for i, (member, booster) in enumerate(zip(self.members_, self._load(), strict=True)):
                trees = booster.current_iteration()
                start, stop = trees * (step - 1) // count, trees * step // count
                if stop > start:
                    raw[i] = raw[i] + booster.predict(
                        X, start_iteration=start, num_iteration=stop - start, raw_score=True, num_threads=self.threads
                    )
                parts.append(self._finish(member, raw[i], X))
            yield np.mean(parts, axis=0)

    def emit(self, net: Net, x: str) -> str:
        outs = []
        for member in self.members_:
            trees = list(read_trees(member.text, self.width_))
            out = emit_trees(net, x, trees, self.width_, CUTS)
            if member.offset is not None:
                out = net.op("Add", out, member.offset.emit(net, x))
            if member.target is None:
                outs.append(emit_shares(net, out, self.width_))
            else:
                outs.append(member.target.emit(net, out))
        total = outs[0] if len(outs) == 1 else net.op("Sum", *outs)
        return net.op("Mul", total, net.const(np.float64(1.0 / len(outs))))

    def _finish(self, member: Member, raw: Any, X: np.ndarray) -> np.ndarray:
        if member.target is not None:
            out: np.ndarray = member.target.inverse(raw if member.offset is None else raw + member.offset.values(X))
            return out
        if self.width_ == 1:
            yes = 1.0 / (1.0 + np.exp(-raw))
            return np.column_stack([1.0 - yes, yes])
        powers = np.exp(raw - raw.max(axis=1, keepdims=True))
        shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
        return shares

    def _load(self) -> list[Any]:
        import lightgbm

        if not self._boosters:
            self._boosters = [lightgbm.Booster(model_str=member.text) for member in self.members_]
        return self._boosters

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_boosters": [], "cluster": None}


def read_trees(text: str, width: int) -> Iterator[Tree]:
    """The trees in LightGBM's model text; tree i adds to output i % width.

    Raises TidelineError for splits on categories, which the project never asks for.
    """
    for number, block in enumerate(text.split("\nend of trees")[0].split("\nTree=")[1:]):
        fields = dict(line.split("=", 1) for line in block.splitlines()[1:] if "=" in line)
        leaves = _numbers(fields["leaf_value"], np.float64)
        inner = len(leaves) - 1
        if inner == 0:
            nothing = np.array([0])
            yield Tree(nothing, nothing * 0.0, nothing - 1, nothing - 1, nothing == 1, leaves[:, None], number % width)
            continue
        decision = _numbers(fields["decision_type"], np.int64)
        if (decision & 1).any():
            raise TidelineError("lightgbm: splits on categories have no ONNX form here; encode the column first")
        threshold = _around_zero(_numbers(fields["threshold"], np.float64))
        children = [_numbers(fields[side], np.int64) for side in ("left_child", "right_child")]
        left, right = (np.where(child < 0, inner + ~child, child) for child in children)
        # A missing value goes the default way only where the split has learnt one; elsewhere it counts as zero.
        missing_left = np.where(decision >> 2 & 3 == 0, threshold >= 0.0, decision >> 1 & 1 == 1)
        yield Tree(
            feature=np.concatenate([_numbers(fields["split_feature"], np.int64), np.zeros(len(leaves), np.int64)]),
            threshold=np.concatenate([threshold, np.zeros(len(leaves))]),
            left=np.concatenate([left, np.full(len(leaves), -1)]),
            right=np.concatenate([right, np.full(len(leaves), -1)]),
            missing_left=np.concatenate([missing_left, np.zeros(len(leaves), bool)]),
            value=np.concatenate([np.zeros(inner), leaves])[:, None],
            first=number % width,
        )


def _around_zero(threshold: np.ndarray) -> np.ndarray:
    """LightGBM reads every value up to 1e-35 as zero; thresholds that say the same of float32 values as they are."""
    below = float(np.nextafter(-ZERO, np.float32(-np.inf)))
    held = np.where((threshold >= -float(ZERO)) & (threshold < 0.0), below, threshold)
    return np.where((threshold >= 0.0) & (threshold < float(ZERO)), float(ZERO), held)


def _numbers(text: str, dtype: Any) -> np.ndarray:
    values: Sequence[str] = text.split()
    return np.array(values, dtype=np.float64).astype(dtype)
