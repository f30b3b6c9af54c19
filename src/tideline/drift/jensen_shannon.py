"""Jensen-Shannon distance: the square root of the mean divergence from the mixture, in bits: 0 (same) to 1 (disjoint).

Sources: J. Lin, "Divergence measures based on the Shannon entropy" (1991); D. Endres & J. Schindelin, "A new metric for
probability distributions" (2003). Near equality the divergence (in nats) is an eighth of the chi-squared distance, so
8 n m / (n + m) times it is a chi-squared variable with bins - 1 degrees of freedom.
"""

from __future__ import annotations

import math

import numpy as np

from tideline.binned import NOTHING, Binned, Floats, Measured
from tideline.contracts import DriftSpec
from tideline.drift._counts import count_used, find_chi2_tail, find_size, is_comparable


def compute(reference: Binned, window: Binned) -> Measured:
    """Statistic and effect are the distance."""
    if not is_comparable(reference, window):
        return NOTHING
    r, w = reference.counts / reference.known, window.counts / window.known
    middle = (r + w) / 2
    nats = max(0.0, (_diverge(r, middle) + _diverge(w, middle)) / 2)
    distance = math.sqrt(nats / math.log(2))
    tail = find_chi2_tail(8 * nats * find_size(reference, window), count_used(reference, window))
    return Measured(distance, tail, distance)


def _diverge(p: Floats, q: Floats) -> float:
    some = p > 0
    return float(np.sum(p[some] * np.log(p[some] / q[some])))


SPEC = DriftSpec(
    name="jensen_shannon",
    compute=compute,
    kinds=("number", "integer", "category"),
    threshold=0.15,
    concern="drift",
    description="Jensen-Shannon distance over the training's bins",
)
