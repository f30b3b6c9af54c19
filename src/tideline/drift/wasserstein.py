"""Wasserstein distance: how far the values moved on average, as a share of the training's standard deviation.

Each sample is its bins' means, weighted by the bins' shares, so values that move inside of a bin, or beyond the
training's range, count by how far they moved. Sources: L. Vaserstein (1969); E. del Barrio, E. Giné & C. Matrán,
"Central limit theorems for the Wasserstein distance between the empirical and the true distributions" (1999): the
scaled distance tends to the integral of a Brownian bridge's absolute value. Its first two moments are known in closed
form; the p-value is the tail of the gamma distribution with these moments, which is the heavier one. What chance
moves inside of the bins is added to it, as if it never cancelled out: the p-value is not too small.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import gamma

from tideline.binned import NOTHING, Binned, Floats, Measured
from tideline.contracts import DriftSpec
from tideline.drift._counts import find_size, is_comparable

TINY = 1e-9  # of the scale: rounding, no movement


def compute(reference: Binned, window: Binned) -> Measured:
    """Statistic: the distance in the column's unit. Effect: divided by the reference's standard deviation."""
    if not is_comparable(reference, window):
        return NOTHING
    r, w = reference.counts / reference.known, window.counts / window.known
    moved = _measure(reference.means, r, window.means, w)
    scale = reference.deviation or max(1.0, abs(float(r @ reference.means)))
    if moved <= TINY * scale:
        return NOTHING
    return Measured(moved, _find_tail(reference, moved, find_size(reference, window)), moved / scale)


def _measure(first: Floats, first_shares: Floats, second: Floats, second_shares: Floats) -> float:
    """Integral of the absolute difference of two step functions that rise by shares (k,) at values (k,)."""
    values, change = np.concatenate([first, second]), np.concatenate([first_shares, -second_shares])
    order = np.argsort(values, kind="stable")
    return float(np.abs(np.cumsum(change[order])[:-1]) @ np.diff(values[order]))


def _find_tail(reference: Binned, moved: float, size: float) -> float:
    used = reference.counts > 0
    shares = reference.counts[used] / reference.known
    steps, below = np.diff(reference.means[used]), shares.cumsum()[:-1].clip(0.0, 1.0)
    deviation = np.sqrt(below * (1 - below))
    # Covariance of |X| and |Y| for normal X, Y of correlation rho: (2/pi) (sqrt(1 - rho^2) + rho asin rho - 1) sx sy.
    low, high = np.minimum.outer(below, below), np.maximum.outer(below, below)
    spread = np.outer(deviation, deviation)
    rho = np.divide(low * (1 - high), spread, out=np.zeros_like(spread), where=spread > 0).clip(0.0, 1.0)
    covariance = (2 / math.pi) * (np.sqrt(1 - rho**2) + rho * np.arcsin(rho) - 1) * spread
    inside = np.sqrt(shares) * reference.deviations[used]
    mean = math.sqrt(2 / math.pi) * float(steps @ deviation + inside.sum()) / math.sqrt(size)
    variance = (float(steps @ covariance @ steps) + (1 - 2 / math.pi) * float(inside @ inside)) / size
    if variance <= 0 or mean <= 0:
        return 0.0  # the reference is one value: no chance moves it
    return float(gamma.sf(moved, mean**2 / variance, scale=variance / mean))


SPEC = DriftSpec(
    name="wasserstein",
    compute=compute,
    kinds=("number", "integer"),
    threshold=0.1,
    concern="drift",
    needs=("means", "deviations"),
    description="mean movement of the values, in standard deviations of the training",
)
