"""Parts of dates: year, month, weekday and the like from days since 1970-01-01, by arithmetic that ONNX shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tideline.transforms._base import BlockTransform, example_frame, find_name, make_spec
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
        parts = _compute_parts(_Numpy(), X)
        return np.hstack([parts[p] for p in self.parts])

    def _names(self, columns: list[str]) -> list[str]:
        return [f"{c}_{part}" for part in self.parts for c in columns]

    def emit(self, graph: Graph, x: str) -> str:
        parts = _compute_parts(_Onnx(graph), x)
        return str(graph.add("Concat", *[parts[p] for p in self.parts], axis=1))


class _Numpy:
    """The few operations that the calendar needs, on arrays."""

    add: Callable[[Any, Any], Any] = staticmethod(np.add)
    sub: Callable[[Any, Any], Any] = staticmethod(np.subtract)
    mul: Callable[[Any, Any], Any] = staticmethod(np.multiply)

    def div(self, a: Any, b: float) -> Any:
        return np.floor(a / b)

    def wave(self, a: Any, shift: float) -> Any:
        return np.sin(a + shift)

    def if_less(self, a: Any, limit: float, yes: Any, no: Any) -> Any:
        return np.where(a < limit, yes, no)


class _Onnx:
    """The same operations as nodes."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def _node(self, op: str, *inputs: Any) -> Any:
        return self.graph.add(op, *(i if isinstance(i, str) else np.float64(i) for i in inputs))

    def add(self, a: Any, b: Any) -> Any:
        return self._node("Add", a, b)

    def sub(self, a: Any, b: Any) -> Any:
        return self._node("Sub", a, b)

    def mul(self, a: Any, b: Any) -> Any:
        return self._node("Mul", a, b)

    def div(self, a: Any, b: float) -> Any:
        return self._node("Floor", self._node("Div", a, b))

    def wave(self, a: Any, shift: float) -> Any:
        return self._node("Sin", self._node("Add", a, shift))

    def if_less(self, a: Any, limit: float, yes: Any, no: Any) -> Any:
        return self._node("Where", self._node("Less", a, limit), yes, no)


def _compute_parts(o: Any, raw: Any) -> dict[str, Any]:
    """All parts of the days `raw`; whole numbers in float64, so exact in both worlds."""
    days = o.div(raw, 1.0)
    shifted = o.add(days, 719468.0)  # days since 0000-03-01
    era = o.div(shifted, 146097.0)
    doe = o.sub(shifted, o.mul(era, 146097.0))
    leaps = o.sub(o.add(o.sub(doe, o.div(doe, 1460.0)), o.div(doe, 36524.0)), o.div(doe, 146096.0))
    yoe = o.div(leaps, 365.0)
    before = o.sub(o.add(o.mul(yoe, 365.0), o.div(yoe, 4.0)), o.div(yoe, 100.0))
    doy = o.sub(doe, before)  # since 1 March
    mp = o.div(o.add(o.mul(doy, 5.0), 2.0), 153.0)
    month = o.if_less(mp, 10.0, o.add(mp, 3.0), o.sub(mp, 9.0))
    march_year = o.add(yoe, o.mul(era, 400.0))
    year = o.add(march_year, o.if_less(mp, 10.0, o.mul(mp, 0.0), o.add(o.mul(mp, 0.0), 1.0)))
    last = o.sub(year, 1.0)
    first_day = o.add(
        o.sub(o.add(o.mul(last, 365.0), o.div(last, 4.0)), o.div(last, 100.0)), o.sub(o.div(last, 400.0), 719162.0)
    )
    turn = o.mul(days, 2 * np.pi / 365.2425)
    return {
        "days": days,
        "year": year,
        "month": month,
        "day": o.add(o.sub(doy, o.div(o.add(o.mul(mp, 153.0), 2.0), 5.0)), 1.0),
        "weekday": o.sub(o.add(days, 3.0), o.mul(o.div(o.add(days, 3.0), 7.0), 7.0)),
        "day_of_year": o.add(o.sub(days, first_day), 1.0),
        "year_sin": o.wave(turn, 0.0),
        "year_cos": o.wave(turn, np.pi / 2),
    }


SPEC = make_spec("date_parts", DateParts, lambda: example_frame({"date": (-40_000, 40_000)}), "calendar parts of dates")
EXAMPLE_PARAMS = {"parts": PARTS}
