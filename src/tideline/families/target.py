"""What the target looks like while a model learns it, and the way back, in numpy and in the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from tideline.contracts import TidelineError
from tideline.families.onnx import Net

MODES = ("none", "standard", "log", "sqrt")


@dataclass(frozen=True)
class Target:
    """y <-> z: `none` leaves y, `standard` centres and scales it, the others do so with log(1 + y) or with y's root."""

    mode: str
    mean: float
    scale: float

    @classmethod
    def fit(cls, y: np.ndarray, mode: str) -> Self:
        """Learn mean and scale of y (n,). Raises TidelineError for an unknown mode, or a y that it cannot bend."""
        if mode not in MODES:
            raise TidelineError(f"model parameter target is {mode!r}; expected one of {', '.join(MODES)}")
        if mode == "none":
            return cls(mode, 0.0, 1.0)
        smallest = float(y.min())
        if (mode == "log" and smallest <= -1.0) or (mode == "sqrt" and smallest < 0.0):
            raise TidelineError(f"target: {mode} cannot take {smallest}, the smallest target; use standard")
        y = _bend(y, mode)
        return cls(mode, float(y.mean()), float(y.std()) or 1.0)

    def forward(self, y: np.ndarray) -> np.ndarray:
        """What the model is to learn (n,), float64."""
        return (_bend(y, self.mode) - self.mean) / self.scale

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Back to the target's units, float64."""
        values = np.asarray(z, np.float64) * self.scale + self.mean
        if self.mode == "sqrt":
            return np.maximum(values, 0.0) ** 2
        return np.expm1(values) if self.mode == "log" else values

    def emit(self, net: Net, z: str) -> str:
        """`inverse` as nodes: from a float64 tensor to a float64 tensor."""
        if self.mode == "none":
            return z
        values = net.affine(z, self.scale, self.mean, np.float64)
        if self.mode == "log":
            return net.op("Sub", net.op("Exp", values), net.const(np.float64(1.0)))
        if self.mode == "sqrt":
            root = net.op("Max", values, net.const(np.float64(0.0)))
            return net.op("Mul", root, root)
        return values


def _bend(y: np.ndarray, mode: str) -> np.ndarray:
    values = np.asarray(y, np.float64)
    return np.log1p(values) if mode == "log" else np.sqrt(values) if mode == "sqrt" else values
