"""What the target looks like while a model learns it, and the way back, in numpy and in the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from tideline.contracts import TidelineError
from tideline.models._onnx import Net

MODES = ("none", "standard", "log")


@dataclass(frozen=True)
class Target:
    """y <-> z: `none` leaves y, `standard` centres and scales it, `log` does so with log(1 + y)."""

    mode: str
    mean: float
    scale: float

    @classmethod
    def fit(cls, y: np.ndarray, mode: str) -> Self:
        """Learn mean and scale of y (n,). Raises TidelineError for an unknown mode, or a log of y <= -1."""
        if mode not in MODES:
            raise TidelineError(f"model parameter target is {mode!r}; expected one of {', '.join(MODES)}")
        if mode == "none":
            return cls(mode, 0.0, 1.0)
        if mode == "log":
            if float(y.min()) <= -1.0:
                raise TidelineError(f"target: log needs targets above -1, the smallest is {y.min()}; use standard")
            y = np.log1p(y)
        return cls(mode, float(y.mean()), float(y.std()) or 1.0)

    def forward(self, y: np.ndarray) -> np.ndarray:
        """What the model is to learn (n,), float64."""
        values = np.log1p(y) if self.mode == "log" else np.asarray(y, np.float64)
        return (values - self.mean) / self.scale

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Back to the target's units, float64."""
        values = np.asarray(z, np.float64) * self.scale + self.mean
        return np.expm1(values) if self.mode == "log" else values

    def emit(self, net: Net, z: str) -> str:
        """`inverse` as nodes: from a float64 tensor to a float64 tensor."""
        if self.mode == "none":
            return z
        values = net.affine(z, self.scale, self.mean, np.float64)
        if self.mode != "log":
            return values
        return net.op("Sub", net.op("Exp", values), net.const(np.float64(1.0)))
