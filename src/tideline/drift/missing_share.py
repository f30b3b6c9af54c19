"""More missing values than in training; Fisher's exact test, one-sided."""

from __future__ import annotations

from tideline.binned import Binned, Measured
from tideline.contracts import DriftSpec
from tideline.drift._counts import compare_shares


def compute(reference: Binned, window: Binned) -> Measured:
    """Statistic: missing values in the window. Effect: how much their share grew."""
    return compare_shares(reference.missing, reference.rows, window.missing, window.rows)


SPEC = DriftSpec(
    name="missing_share",
    compute=compute,
    kinds=("number", "integer", "category", "date"),
    threshold=0.02,
    concern="quality",
    direction="up",
    description="growth of the share of missing values",
)
