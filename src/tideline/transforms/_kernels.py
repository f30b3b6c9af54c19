"""Weights of neighbours by distance, by likeness, and by both: exp of a linear form of five terms, plus a trace.

Distances are in the unit of the scaled coordinates; likeness is the difference of the described columns in widths of
the kernel. Weights are not normalised. Each once in numpy and once as ONNX nodes, with the neighbours as last axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tideline.transforms._onnx import Graph

NEAR, AWAY = 0.3, 0.5  # added to distances: co-located rows do not drown the others
PER_WIDTH = 0.15  # of the Laplace kernel in log `per`
TINY = 1e-9  # a row that is like nobody gets plain means
PACE = 10  # the adaptive kernels decay with the distance to this neighbour

# name: factors of log(distance + NEAR), log(distance + AWAY), distance / pace, |gap|, squared unlikeness; and the trace
KERNELS = {
    "near": ((-1.0, 0.0, 0.0, 0.0, 0.0), 0.0),
    "nearest": ((-2.0, 0.0, 0.0, 0.0, 0.0), 0.0),
    "adaptive": ((0.0, 0.0, -1.0, 0.0, 0.0), 0.0),
    "alike_in_per": ((0.0, -1.0, 0.0, -1.0 / PER_WIDTH, 0.0), 0.0),
    "alike": ((0.0, -1.0, 0.0, 0.0, -0.5), TINY),
    "alike_adaptive": ((0.0, 0.0, -1.0 / 3.0, 0.0, -0.5), TINY),
}
NAMES = tuple(KERNELS)
FACTORS = np.array([factors for factors, _ in KERNELS.values()])
TRACES = np.array([[trace] for _, trace in KERNELS.values()])


def weigh(distance: np.ndarray, likeness: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Weights (n, kernels, k) from distance and gap (n, 1, k) and likeness (n, c, k)."""
    near = distance + NEAR
    terms = [
        np.log(near),
        np.log(distance + AWAY),
        distance / near[:, :, PACE - 1 : PACE],
        np.abs(gap),
        (likeness * likeness).sum(axis=1, keepdims=True),
    ]
    return np.asarray(np.exp(FACTORS @ np.concatenate(terms, axis=1)) + TRACES)


def emit(graph: Graph, distance: Any, likeness: Any, gap: Any) -> Any:
    """The same as nodes."""
    add = graph.add
    near = add("Add", distance, np.float64(NEAR))
    logs = add("Log", add("Concat", near, add("Add", distance, np.float64(AWAY)), axis=1))
    steps = add("Div", distance, add("Gather", near, np.array([PACE - 1]), axis=2))
    unlike = add("ReduceSum", add("Mul", likeness, likeness), np.array([1]), keepdims=1)
    terms = add("Concat", logs, steps, add("Abs", gap), unlike, axis=1)
    return add("Add", add("Exp", add("MatMul", FACTORS, terms)), TRACES)
