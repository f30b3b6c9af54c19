"""Numbers beyond everything that training saw (dates: beyond the contract's limits); Fisher's exact test, one-sided.

What breaks the contract's own limits a server refuses, so it is not in the log; what lies inside of them, but beyond
the training's extremes, the model answers by extrapolation.
"""

from __future__ import annotations

from tideline.binned import Binned, Measured
from tideline.contracts import DriftSpec
from tideline.drift._counts import compare_shares


def compute(reference: Binned, window: Binned) -> Measured:
    """Statistic: values beyond the range. Effect: their share of the present values."""
    return compare_shares(reference.outside, reference.present, window.outside, window.present)


SPEC = DriftSpec(
    name="range_breaches",
    compute=compute,
    kinds=("number", "integer", "date"),
    threshold=0.01,
    concern="quality",
    direction="up",
    description="share of values beyond the training's range",
)
