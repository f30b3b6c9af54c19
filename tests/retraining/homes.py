"""Rents that depend on time: a task with an order in time, and one without, whose law may change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from tests.small_task import RENT, make_frame
from tideline.contracts import Block, Split, Step, Task

FIRST = 10_000  # days since 1970-01-01
FEATURES = (Block("numbers", ("size", "floor"), (Step("impute_median"),)),)
HOMES: Task = replace(RENT, name="homes", features=FEATURES, split=Split("time", by=("day",), cut="1998-01-01"))
FLATS: Task = replace(RENT, name="flats", features=FEATURES, split=Split("hash", by=("size",)))


def make_homes(days: int, each: int, change: int | None = None, first: int = FIRST, seed: int = 0) -> pd.DataFrame:
    """`each` rows a day, in time order; from the day number `change` on all rents are 300 higher for large homes."""
    frame = make_frame(days * each, seed)
    day = np.repeat(np.arange(days), each)
    new = np.zeros(len(day), dtype=bool) if change is None else day >= change
    price = frame["price"] + np.where(new & (frame["size"] > 50), 300.0, 0.0)
    return frame.assign(day=(day + first).astype(np.float64), price=price).drop(columns="pet")
