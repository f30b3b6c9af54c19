"""What several drift statistics share: smoothed shares, and the size of two samples together."""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2, hypergeom

from tideline.binned import NOTHING, Binned, Floats, Measured

HALF = 0.5  # added to each bin, so that an empty one has a logarithm (the prior of Jeffreys)


def is_comparable(reference: Binned, window: Binned) -> bool:
    """True if both hold values in the bins."""
    return reference.known > 0 and window.known > 0


def smooth_shares(counts: Floats) -> Floats:
    """Shares (bins,) that are nowhere zero and sum to 1."""
    smoothed = counts + HALF
    return np.asarray(smoothed / smoothed.sum())


def find_size(reference: Binned, window: Binned) -> float:
    """n m / (n + m): the variance of a difference of two samples' shares is that of one sample of this size."""
    return reference.known * window.known / (reference.known + window.known)


def find_chi2_tail(statistic: float, bins: int) -> float:
    """P(chi-squared with bins - 1 degrees of freedom >= statistic); 1 for a single bin."""
    return float(chi2.sf(statistic, bins - 1)) if bins > 1 else 1.0


def count_used(reference: Binned, window: Binned) -> int:
    """Bins that hold a value of either sample."""
    return int(((reference.counts + window.counts) > 0).sum())


def compare_shares(reference_hits: int, reference_rows: int, hits: int, rows: int) -> Measured:
    """Has a share grown? Fisher's exact test (1935), one-sided; statistic: hits, effect: difference of the shares.

    Where the reference holds nothing at all, any hit is new.
    """
    if rows == 0:
        return NOTHING
    if reference_rows == 0:
        return Measured(float(hits), 0.0 if hits else 1.0, hits / rows)
    before = reference_hits / reference_rows
    p_value = float(hypergeom.sf(hits - 1, reference_rows + rows, reference_hits + hits, rows))
    return Measured(float(hits), min(1.0, p_value), hits / rows - before)
