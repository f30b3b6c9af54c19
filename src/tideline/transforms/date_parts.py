"""Parts of dates: year, month, weekday and the like from days since 1970-01-01, by arithmetic that ONNX shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tideline.transforms._base import BlockTransform, example_frame, find_name, make_spec
from tideline.transforms._formula import Formula, NumpyFormula, OnnxFormula
from tideline.transforms._onnx import Graph

PARTS = ("days", "year", "month", "day", "weekday", "day_of_year", "year_sin", "year_cos")


class DateParts(BlockTransform):
    """Float64 parts of each date column; weekday 0 is Monday, year_sin and year_cos turn once a year of 365.2425 days.

    Fractions of days count as the day they lie in. Missing dates have missing parts.
    Source of the calendar: H. Hinnant, chrono-compatible low-level date algorithms (civil_from_days).
    """

    def __init__(self, parts: Sequence[str] = ("year", "month", "day", "weekday", "day_of_year")) -> None:
        self.parts = parts

    def _learn(self, X: np.ndarray, y: np.ndarray | None) -> None:
        if not len(self.parts):
            raise self._fail(f"parts is empty; choose from {', '.join(PARTS)}")
        for part in self.parts:
            find_name(part, PARTS, "DateParts: part")

    def _apply(self, X: np.ndarray) -> np.ndarray:
        parts = _compute_parts(NumpyFormula(), X)
        return np.hstack([parts[p] for p in self.parts])

    def _names(self, columns: list[str]) -> list[str]:
        return [f"{c}_{part}" for part in self.parts for c in columns]

    def emit(self, graph: Graph, x: str) -> str:
        parts = _compute_parts(OnnxFormula(graph), x)
        return str(graph.add("Concat", *[parts[p] for p in self.parts], axis=1))


def _compute_parts(o: Formula, raw: Any) -> dict[str, Any]:
    """All parts of the days `raw`; whole numbers in float64, so exact in both worlds."""

    def plus(a: Any, b: Any) -> Any:
        return o.op("Add", a, b)

    def minus(a: Any, b: Any) -> Any:
        return o.op("Sub", a, b)

    def times(a: Any, b: float) -> Any:
        return o.op("Mul", a, b)

    def whole(a: Any, b: float) -> Any:
        return o.op("Floor", o.op("Div", a, b))

    days = o.op("Floor", raw)
    shifted = plus(days, 719468.0)  # days since 0000-03-01, so that the leap day ends a year
    era = whole(shifted, 146097.0)  # 400 years
    of_era = minus(shifted, times(era, 146097.0))
    leaps = minus(plus(minus(of_era, whole(of_era, 1460.0)), whole(of_era, 36524.0)), whole(of_era, 146096.0))
    year_of_era = whole(leaps, 365.0)
    before = minus(plus(times(year_of_era, 365.0), whole(year_of_era, 4.0)), whole(year_of_era, 100.0))
    since_march = minus(of_era, before)
    march = whole(plus(times(since_march, 5.0), 2.0), 153.0)  # months since March
    march_year = plus(year_of_era, times(era, 400.0))
    year = o.less(march, 10.0, march_year, plus(march_year, 1.0))
    last = minus(year, 1.0)
    leap_days = plus(minus(whole(last, 4.0), whole(last, 100.0)), whole(last, 400.0))
    new_year = minus(plus(times(last, 365.0), leap_days), 719162.0)
    turn = times(days, 2 * np.pi / 365.2425)
    from_monday = plus(days, 3.0)
    return {
        "days": days,
        "year": year,
        "month": o.less(march, 10.0, plus(march, 3.0), minus(march, 9.0)),
        "day": plus(minus(since_march, whole(plus(times(march, 153.0), 2.0), 5.0)), 1.0),
        "weekday": minus(from_monday, times(whole(from_monday, 7.0), 7.0)),
        "day_of_year": plus(minus(days, new_year), 1.0),
        "year_sin": o.op("Sin", turn),
        "year_cos": o.op("Sin", plus(turn, np.pi / 2)),
    }


SPEC = make_spec("date_parts", DateParts, lambda: example_frame({"date": (-40_000, 40_000)}), "calendar parts of dates")
EXAMPLE_PARAMS = {"parts": PARTS}
