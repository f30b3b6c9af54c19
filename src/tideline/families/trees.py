"""Trees of any library as flat arrays, and the one place where they become a TreeEnsemble node."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tideline.families.onnx import Net

LEAST_COLUMNS = 12  # fewer to choose from, and most trees would miss what matters
CUTS = (24, 100)  # where boosting's sums are cut, in trees


@dataclass(frozen=True)
class Tree:
    """Node arrays (m,): a row goes left if x[feature] <= threshold; a leaf has left < 0.

    `value` (m, k) holds what a leaf adds to outputs `first`..`first + k - 1`; `missing_left` says where a
    missing value goes.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    missing_left: np.ndarray
    value: np.ndarray
    first: int = 0


def share_columns(share: float, n_features: int) -> float:
    """The share of columns that a tree or a split may choose from: of few columns it is more than was asked for."""
    return min(1.0, max(share, LEAST_COLUMNS / n_features))


def floor_float32(values: np.ndarray) -> np.ndarray:
    """The largest float32 not above each float64: keeps x <= t the same for every float32 x."""
    rounded = np.asarray(values, np.float64).astype(np.float32)
    above = rounded.astype(np.float64) > values
    return np.where(above, np.nextafter(rounded, np.float32(-np.inf)), rounded).astype(np.float32)


def emit_trees(net: Net, x: str, trees: Sequence[Tree], width: int, cuts: Sequence[int] = ()) -> str:
    """The sum over all trees as a float64 tensor [n, width].

    The runtime adds leaves in float32. The trees are cut before the numbers in `cuts` into parts that are added
    in float64: boosting's first trees carry nearly all of the sum, so the many small ones after them round finely.
    """
    edges = [0, *(cut for cut in cuts if cut < len(trees)), len(trees)]
    parts = [_emit_part(net, x, trees[i:j], width) for i, j in itertools.pairwise(edges)]
    return parts[0] if len(parts) == 1 else net.op("Sum", *parts)


def _emit_part(net: Net, x: str, trees: Sequence[Tree], width: int) -> str:
    sizes = np.array([len(tree.left) for tree in trees])
    leaf = np.concatenate([tree.left for tree in trees]) < 0
    number = np.repeat(np.arange(len(trees)), sizes)
    node = np.concatenate([np.arange(size) for size in sizes])

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(tree, name) for tree in trees])

    values, targets, holders, owners = [], [], [], []
    for i, tree in enumerate(trees):
        at = np.flatnonzero(tree.left < 0)
        k = tree.value.shape[1]
        values.append(tree.value[at].reshape(-1))
        targets.append(np.tile(tree.first + np.arange(k), len(at)))
        holders.append(np.repeat(at, k))
        owners.append(np.full(len(at) * k, i))
    out = net.op(
        "TreeEnsembleRegressor",
        x,
        domain="ai.onnx.ml",
        n_targets=width,
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_treeids=number.tolist(),
        nodes_nodeids=node.tolist(),
        nodes_featureids=np.where(leaf, 0, joined("feature")).tolist(),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_values=np.where(leaf, np.float32(0), floor_float32(np.where(leaf, 0, joined("threshold")))).tolist(),
        nodes_truenodeids=np.where(leaf, 0, joined("left")).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, joined("right")).tolist(),
        nodes_missing_value_tracks_true=np.where(leaf, 0, joined("missing_left")).astype(int).tolist(),
        target_treeids=np.concatenate(owners).tolist(),
        target_nodeids=np.concatenate(holders).tolist(),
        target_ids=np.concatenate(targets).tolist(),
        target_weights=np.concatenate(values).astype(np.float32).tolist(),
    )
    return net.cast(out, np.float64)
