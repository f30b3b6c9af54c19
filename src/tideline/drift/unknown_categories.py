"""Categories that training never saw; Fisher's exact test, one-sided."""

from __future__ import annotations

from tideline.binned import Binned, Measured
from tideline.contracts import DriftSpec
from tideline.drift._counts import compare_shares


def compute(reference: Binned, window: Binned) -> Measured:
    """Statistic: values of unknown categories. Effect: their share of the present values."""
    return compare_shares(reference.unknown, reference.present, window.unknown, window.present)


SPEC = DriftSpec(
    name="unknown_categories",
    compute=compute,
    kinds=("category",),
    threshold=0.01,
    concern="quality",
    direction="up",
    description="share of values of categories that training never saw",
)
