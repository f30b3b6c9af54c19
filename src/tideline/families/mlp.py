"""Multilayer perceptrons as plain arrays: what both frameworks train, and how it is written as a graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tideline.contracts import BuildContext
from tideline.families.onnx import Net


@dataclass(frozen=True)
class Recipe:
    """How a perceptron is built and trained.

    `members` nets are trained side by side on the same batches and averaged; `frequencies` adds that many
    learnt sines of every input (0: none); `patience` epochs without a better validation loss end training.
    """

    hidden: tuple[int, ...]
    members: int
    frequencies: int
    dropout: float
    learning_rate: float
    weight_decay: float
    batch: int
    epochs: int
    patience: int

    @classmethod
    def read(cls, params: Mapping[str, Any]) -> Recipe:
        """From a model's parameters; `target` belongs to the shell around it."""
        values = {key: value for key, value in params.items() if key != "target"}
        return cls(**{**values, "hidden": tuple(values["hidden"])})


@dataclass(frozen=True)
class Weights:
    """All weights, float32.

    `frequency` and `phase` are (n_features, f), a layer is W (members, in, out) and b (members, 1, out).
    """

    frequency: np.ndarray | None
    phase: np.ndarray | None
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]


class Core:
    """What a core of either framework keeps of its recipe and context; an epoch's callback is not stored with it."""

    def __init__(self, recipe: Recipe, context: BuildContext) -> None:
        self.recipe = recipe
        self.problem = context.problem
        self.seed = context.seed
        self.threads = context.threads
        self.asked = context.device
        self.time_ordered = context.time_ordered
        self.callback = context.epoch_callback

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "callback": None}


def emit_mlp(net: Net, x: str, weights: Weights, activation: str, classes: int) -> str:
    """The mean over members as a float64 tensor: values [n, 1], or probabilities [n, classes]."""
    h = x
    if weights.frequency is not None and weights.phase is not None:
        count = weights.frequency.shape[1]
        one = net.const(np.array([2], np.int64))
        waves = net.affine(net.op("Unsqueeze", x, one), weights.frequency, weights.phase)
        flat = net.op("Reshape", net.op("Sin", waves), net.const(np.array([-1, net.n_features * count], np.int64)))
        h = net.op("Concat", x, flat, axis=1)
    for number, (weight, bias) in enumerate(weights.layers):
        h = net.op("Add", net.op("MatMul", h, net.const(weight)), net.const(bias))
        if number < len(weights.layers) - 1:
            h = net.op("Mul", h, net.op("Sigmoid", h)) if activation == "silu" else net.op("Relu", h)
    h = net.cast(h, np.float64)  # [members, n, out]
    if classes:
        h = net.op("Softmax", h, axis=2)
    return net.op("ReduceMean", h, net.const(np.array([0], np.int64)), keepdims=0)


def draw_layers(recipe: Recipe, width: int, classes: int, seed: int) -> list[np.ndarray]:
    """First kernels (members, in, out) and biases (members, out), in turn, float32.

    By He's rule; the last layer starts small.
    """
    rng, arrays = np.random.default_rng(seed), []
    for size in recipe.hidden:
        arrays.append(rng.normal(0.0, np.sqrt(2.0 / width), (recipe.members, width, size)))
        arrays.append(np.zeros((recipe.members, size)))
        width = size
    arrays.append(rng.normal(0.0, np.sqrt(0.1 / width), (recipe.members, width, classes or 1)))
    arrays.append(np.zeros((recipe.members, classes or 1)))
    return [array.astype(np.float32) for array in arrays]


def part_validation(
    z: np.ndarray, share: float, seed: int, time_ordered: bool, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers to learn from and to stop on: the last rows in time, else drawn, within each class."""
    n = len(z)
    if time_ordered:
        cut = n - max(1, int(n * share))
        return np.arange(cut), np.arange(cut, n)
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    if not classes:
        count = max(1, int(n * share))
        return np.sort(order[count:]), np.sort(order[:count])
    held = np.concatenate([rows[: int(len(rows) * share)] for rows in (order[z[order] == k] for k in range(classes))])
    if not len(held):
        held = order[:1]
    return np.setdiff1d(order, held), np.sort(held)


def draw_batches(n: int, batch: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Row numbers of one epoch in random order; a short last batch is left for the next epoch's draw."""
    order = rng.permutation(n)
    size = min(batch, n)
    for start in range(0, n - size + 1, size):
        yield order[start : start + size]


def cosine_rate(step: int, steps: int, peak: float) -> float:
    """1cycle: a tenth of the steps up to `peak` in a straight line, then down to zero along a cosine."""
    warm = max(1, steps // 10)
    if step < warm:
        return peak * (step + 1) / warm
    return float(peak * 0.5 * (1.0 + np.cos(np.pi * (step - warm) / max(1, steps - warm))))
