"""Weights of neighbours by distance, by likeness, and by both. Each once in numpy and once as ONNX nodes.

Distances are (n, k) in the unit of the scaled coordinates; likeness is the difference of the described columns in
widths of the kernel (n, k, c). Rows of weights are not normalised.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tideline.transforms._onnx import Graph

NAMES = ("near", "nearest", "adaptive", "alike_in_per", "alike", "alike_adaptive")
NEAR, AWAY = 0.3, 0.5  # added to distances: co-located rows do not drown the others
PER_WIDTH = 0.15  # of the Laplace kernel in log `per`
TINY = 1e-9  # a row that is like nobody gets plain means
PACE = 10  # the adaptive kernels decay with the distance to this neighbour


def weigh(distance: np.ndarray, likeness: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Weights (n, len(NAMES), k)."""
    pace = distance[:, PACE - 1 : PACE] + NEAR
    near = distance + NEAR
    unlike = -0.5 * (likeness * likeness).sum(axis=2)
    return np.stack(
        [
            1 / near,
            1 / (near * near),
            np.exp(-distance / pace),
            np.exp(-np.abs(gap) / PER_WIDTH) / (distance + AWAY),
            np.exp(unlike) / (distance + AWAY) + TINY,
            np.exp(unlike - distance / (3 * pace)) + TINY,
        ],
        axis=1,
    )


def emit(graph: Graph, distance: Any, likeness: Any, gap: Any) -> Any:
    """The same nodes; distance and gap are [n, k, 1], likeness [n, k, c]; weights [n, len(NAMES), k]."""
    add = graph.add
    pace = add("Add", add("Gather", distance, np.array([PACE - 1]), axis=1), np.float64(NEAR))
    near = add("Add", distance, np.float64(NEAR))
    away = add("Add", distance, np.float64(AWAY))
    squares = add("ReduceSum", add("Mul", likeness, likeness), np.array([2]), keepdims=1)
    unlike = add("Mul", squares, np.float64(-0.5))
    steps = add("Div", distance, pace)
    alone = add("Div", add("Abs", gap), np.float64(-PER_WIDTH))
    exponents = add("Concat", add("Neg", steps), alone, unlike, axis=2)
    third = add("Sub", unlike, add("Div", steps, np.float64(3)))
    powers = add("Exp", add("Concat", exponents, third, axis=2))

    def power(i: int) -> Any:
        return add("Gather", powers, np.array([i]), axis=2)

    inverse = add("Reciprocal", near)
    stacked = add(
        "Concat",
        inverse,
        add("Mul", inverse, inverse),
        power(0),
        add("Div", power(1), away),
        add("Add", add("Div", power(2), away), np.float64(TINY)),
        add("Add", power(3), np.float64(TINY)),
        axis=2,
    )
    return add("Transpose", stacked, perm=[0, 2, 1])
