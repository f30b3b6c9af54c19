"""How much of the past a training learns from: all of it, a sliding window, or rows that fade with their age."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from tideline.contracts import TidelineError

KINDS = ("all", "window", "half-life")


@dataclass(frozen=True)
class History:
    """all: every row. window: rows at most `days` old. half-life: a row is kept with probability 0.5^(age / days)."""

    kind: Literal["all", "window", "half-life"] = "all"
    days: float = 0.0

    @property
    def name(self) -> str:
        """For a person."""
        return {"all": "all rows", "window": f"last {self.days:g} days", "half-life": f"half-life {self.days:g} days"}[
            self.kind
        ]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"kind": self.kind, "days": self.days, "name": self.name}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """What `to_dict` gave. Raises TidelineError."""
        try:
            history = cls(raw["kind"], float(raw["days"]))
        except (KeyError, TypeError, ValueError) as error:
            raise TidelineError(f"a history is {raw!r} ({error!r}); collect again (`tideline collect TASK`)") from error
        if history.kind not in KINDS:
            raise TidelineError(f"a history is of kind {history.kind!r}; known: {', '.join(KINDS)}")
        return history


def draw_rows(
    history: History, times: NDArray[np.float64], chances: NDArray[np.float64], end: float
) -> NDArray[np.bool_]:
    """Which rows (n,) a history that ends at `end` learns from.

    times: days, of any origin (n,); NaN is older than all others. chances: a number in [0, 1) a row, fixed by its
    content, so that a row which has faded stays out as time goes on. A model may not take weights, but every model
    takes fewer rows: a weight is the probability of being kept. No row is taken twice, so none can lie on both sides
    of a fold.
    """
    ages = end - times
    if history.kind == "window":
        return np.asarray(ages <= history.days)  # NaN: False
    if history.kind == "half-life":
        known = ages[~np.isnan(ages)]
        oldest = float(known.max()) if len(known) else 0.0
        kept = chances < 0.5 ** (np.where(np.isnan(ages), oldest, ages) / history.days)
        return np.asarray(kept)
    return np.ones(len(times), dtype=bool)
