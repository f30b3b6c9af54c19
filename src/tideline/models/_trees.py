"""Trees of any library as flat arrays, and the one place where they become a TreeEnsemble node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tideline.models._onnx import Net


@dataclass(frozen=True)
class Tree:
    """Node arrays (m,): a row goes left if x[feature] <= threshold; a leaf has left < 0.

    `value` (m, k) holds what a leaf adds to outputs `first`..`first + k - 1`; `missing_left` says where a missing value goes.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    missing_left: np.ndarray
    value: np.ndarray
    first: int = 0


def floor_float32(values: np.ndarray) -> np.ndarray:
    """The largest float32 not above each float64: keeps x <= t the same for every float32 x."""
    rounded = np.asarray(values, np.float64).astype(np.float32)
    above = rounded.astype(np.float64) > values
    return np.where(above, np.nextafter(rounded, np.float32(-np.inf)), rounded).astype(np.float32)


def emit_trees(net: Net, x: str, trees: Sequence[Tree], width: int, lanes: int = 1) -> str:
    """The sum over all trees as a float64 tensor [n, width].

    The runtime adds leaves in float32. `lanes` partial sums, added in float64, keep the rounding small
    when many trees cancel out.
    """
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
        targets.append(np.tile((i % lanes) * width + tree.first + np.arange(k), len(at)))
        holders.append(np.repeat(at, k))
        owners.append(np.full(len(at) * k, i))
    out = net.op(
        "TreeEnsembleRegressor",
        x,
        domain="ai.onnx.ml",
        n_targets=lanes * width,
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
    out = net.cast(out, np.float64)
    if lanes == 1:
        return out
    parts = net.op("Reshape", out, net.const(np.array([-1, lanes, width], np.int64)))
    return net.op("ReduceSum", parts, net.const(np.array([1], np.int64)), keepdims=0)
