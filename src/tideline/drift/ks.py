"""Kolmogorov-Smirnov: the largest difference of the two cumulative distributions, looked at on the edges of the bins.

Sources: N. Smirnov, "Table for estimating the goodness of fit of empirical distributions" (1948), for the limiting law.
The largest difference on the edges is at most that over all values, so the p-value is never too small.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import kstwobign

from tideline.binned import NOTHING, Binned, Measured
from tideline.contracts import DriftSpec
from tideline.drift._counts import find_size, is_comparable


def compute(reference: Binned, window: Binned) -> Measured:
    """Statistic and effect are the difference, 0 to 1."""
    if not is_comparable(reference, window):
        return NOTHING
    gaps = np.cumsum(window.counts) / window.known - np.cumsum(reference.counts) / reference.known
    largest = float(np.abs(gaps).max())
    return Measured(largest, float(kstwobign.sf(largest * math.sqrt(find_size(reference, window)))), largest)


SPEC = DriftSpec(
    name="ks",
    compute=compute,
    kinds=("number", "integer"),
    threshold=0.1,
    concern="drift",
    description="Kolmogorov-Smirnov distance on the edges of the training's bins",
)
