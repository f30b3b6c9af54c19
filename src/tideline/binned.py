"""How the values of one column fall into the bins that were cut at training: what drift tests compare."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def _empty() -> Floats:
    return np.empty(0)


@dataclass(frozen=True)
class Binned:
    """Counts of one column's rows, of the reference or of a window; both have the same bins in the same order.

    counts: float64 (bins,), present values in each bin. For numbers also the mean and the standard deviation (0 where
    unknown) of the values in each bin, (bins,), in the column's unit. unknown: categories that training never saw.
    outside: numbers beyond the reference's extremes; they are in the outermost bins, too. deviation: of all values.
    """

    rows: int
    missing: int
    counts: Floats
    means: Floats = field(default_factory=_empty)
    deviations: Floats = field(default_factory=_empty)
    unknown: int = 0
    outside: int = 0
    deviation: float = 0.0

    @property
    def present(self) -> int:
        """Rows that hold a value."""
        return self.rows - self.missing

    @property
    def known(self) -> float:
        """Values that lie in a bin."""
        return float(self.counts.sum())


@dataclass(frozen=True)
class Measured:
    """What a drift test found: its statistic, the p-value (None where there is none), and the size of the effect."""

    statistic: float
    p_value: float | None
    effect: float


NOTHING = Measured(0.0, 1.0, 0.0)  # what a test says where there is nothing to compare
