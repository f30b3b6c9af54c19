"""Standardised inputs for families that need them; every operation is float32, in numpy as in the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from tideline.families.onnx import Net

BOUND = 6.0  # standard deviations; what lies beyond says "extreme" and no more


@dataclass(frozen=True)
class Scaler:
    """(X - mean) * inverse deviation, held within +-`bound`; a missing value becomes the mean (0)."""

    mean: np.ndarray
    factor: np.ndarray
    bound: float

    @classmethod
    def fit(cls, X: np.ndarray, bound: float = BOUND) -> Self:
        """Learn from X float32 (n, n_features); a column without spread is scaled to zero."""
        mean = np.nanmean(X.astype(np.float64), axis=0)
        deviation = np.nanstd(X.astype(np.float64), axis=0)
        flat = ~(deviation > 1e-12 * np.maximum(np.abs(mean), 1.0))
        factor = np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, deviation))
        return cls(np.nan_to_num(mean).astype(np.float32), factor.astype(np.float32), bound)

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Scaled X, float32, without missing values."""
        scaled = np.clip((X - self.mean) * self.factor, np.float32(-self.bound), np.float32(self.bound))
        return np.where(np.isnan(scaled), np.float32(0.0), scaled)

    def emit(self, net: Net, x: str) -> str:
        """`transform` as nodes."""
        centred = net.op("Sub", x, net.const(self.mean))
        scaled = net.op("Mul", centred, net.const(self.factor))
        low, high = net.const(np.float32(-self.bound)), net.const(np.float32(self.bound))
        missing = net.op("IsNaN", scaled)
        filled = net.op("Where", missing, net.const(np.float32(0.0)), scaled)
        return net.op("Clip", filled, low, high)
