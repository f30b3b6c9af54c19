"""What a column holds, in a few words: missing values, extremes, categories."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tideline.contracts import Column
from tideline.rules import write_limit

MOST_CATEGORIES = 4


def describe_values(column: Column, values: pd.Series) -> str:
    """A line on the values found; works on a column that breaks every rule too."""
    present = values.dropna()
    if column.is_text:
        words = _describe_categories(present)
    else:
        numbers = pd.to_numeric(present, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        numbers = numbers[np.isfinite(numbers)]
        words = "no numbers"
        if len(numbers):
            low, high = (write_limit(float(limit), column.kind) for limit in (numbers.min(), numbers.max()))
            words = f"{low} to {high} {column.unit}".rstrip()
    missing = len(values) - len(present)
    return f"{words}; {missing:,} missing" if missing else words


def _describe_categories(present: pd.Series) -> str:
    counts = present.astype(str).value_counts()
    named = [f"{name} ({count:,})" for name, count in counts.head(MOST_CATEGORIES).items()]
    rest = len(counts) - len(named)
    return ", ".join(named) + (f" and {rest:,} others" if rest else "")
