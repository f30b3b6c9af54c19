"""Pearson's chi-squared test of homogeneity, with Cohen's w as the size of the effect.

Sources: W. Cochran, "Some methods for strengthening the common chi-squared tests" (1954): cells that expect fewer
than five are put together. J. Cohen, "Statistical Power Analysis for the Behavioral Sciences" (1988), chapter 7: w of
0.1 is a small effect, 0.3 a medium one; unlike Cramér's V it does not shrink because the reference is large.
"""

from __future__ import annotations

import math

import numpy as np

from tideline.binned import NOTHING, Binned, Floats, Measured
from tideline.contracts import DriftSpec
from tideline.drift._counts import find_chi2_tail, is_comparable, smooth_shares

LEAST_EXPECTED = 5.0


def compute(reference: Binned, window: Binned) -> Measured:
    """Statistic: chi-squared over both samples. Effect: w."""
    if not is_comparable(reference, window):
        return NOTHING
    r, w = _put_together(reference.counts, window.counts)
    if len(r) < 2:
        return NOTHING
    n, m = w.sum(), r.sum()
    pooled = (r + w) / (n + m)
    statistic = float(np.sum((w - n * pooled) ** 2 / (n * pooled) + (r - m * pooled) ** 2 / (m * pooled)))
    before, now = smooth_shares(r), smooth_shares(w)
    effect = math.sqrt(float(np.sum((now - before) ** 2 / before)))
    return Measured(statistic, find_chi2_tail(statistic, len(r)), effect)


def _put_together(reference: Floats, window: Floats) -> tuple[Floats, Floats]:
    """Counts of both samples with the rare cells as one, which joins the rarest of the others if it is rare still."""
    together = reference + window
    expected = min(reference.sum(), window.sum()) * together / together.sum()
    order = np.argsort(-expected, kind="stable")
    kept = int((expected >= LEAST_EXPECTED).sum())
    if kept < len(order) and expected[order[kept:]].sum() < LEAST_EXPECTED:
        kept = max(0, kept - 1)
    groups = np.minimum(np.arange(len(order)), kept)
    before, now = (np.bincount(groups, counts[order]).astype(np.float64) for counts in (reference, window))
    return before, now


SPEC = DriftSpec(
    name="chi_squared",
    compute=compute,
    kinds=("category",),
    threshold=0.15,
    concern="drift",
    description="chi-squared test of the categories' shares",
)
