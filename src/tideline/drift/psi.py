"""Population stability index: the symmetric Kullback-Leibler divergence of the binned shares.

Sources: N. Siddiqi, "Credit Risk Scorecards" (2006), chapter 8: below 0.1 nothing, from 0.25 on a change. B. Yurdakul,
"Statistical Properties of Population Stability Index" (2018): if nothing changed, it is (1/n + 1/m) times a chi-squared
variable with bins - 1 degrees of freedom.
"""

from __future__ import annotations

import numpy as np

from tideline.binned import NOTHING, Binned, Measured
from tideline.contracts import DriftSpec
from tideline.drift._counts import count_used, find_chi2_tail, find_size, is_comparable, smooth_shares


def compute(reference: Binned, window: Binned) -> Measured:
    """Sum of (w - r) log(w / r) over the bins; statistic and effect are the index."""
    if not is_comparable(reference, window):
        return NOTHING
    r, w = smooth_shares(reference.counts), smooth_shares(window.counts)
    index = float(np.sum((w - r) * np.log(w / r)))
    tail = find_chi2_tail(index * find_size(reference, window), count_used(reference, window))
    return Measured(index, tail, index)


SPEC = DriftSpec(
    name="psi",
    compute=compute,
    kinds=("number", "integer", "category"),
    threshold=0.2,
    concern="drift",
    description="population stability index over the training's bins",
)
