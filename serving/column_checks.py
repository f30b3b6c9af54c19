"""Columns of a request held against the manifest: the rules of a JSON row, applied to whole arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.column_batch import ColumnBatch
from serving.columns import EPOCH, describe_schema, describe_words, find_range, known_categories, to_date
from serving.errors import Refusal, show
from serving.explain import explain_unknown
from tideline.contracts import Column

_FIRST_DAY, _LAST_DAY = date.min.toordinal() - EPOCH, date.max.toordinal() - EPOCH


@dataclass(frozen=True, slots=True)
class Places:
    """How a format's errors name a cell and a column: templates of {column} and {row}, and what the whole is."""

    cell: str = "rows[{row}].{column}"
    column: str = "columns.{column}"
    whole: str = "rows"


class ColumnChecker:
    """Checks raw columns: float64 with NaN, or objects (str) with "", where a value is missing.

    A nullable column may be left out. Ranges and categories are enforced as `RowDecoder` does it.
    """

    def __init__(self, columns: Sequence[Column], max_rows: int) -> None:
        self.columns, self.max_rows = {c.name: c for c in columns}, max_rows
        kinds = ("number", "integer", "date", "category")
        self._order = sorted(columns, key=lambda c: kinds.index(c.kind))  # that of a decoded row

    def check(self, given: Mapping[str, NDArray[Any]], places: Places) -> ColumnBatch:
        """The rows of a request. Dates are given as ISO strings or as days since 1970-01-01. Raises Refusal."""
        self._check_names(given, places)
        n = self.check_count(max(map(len, given.values()), default=0), places)
        checked = {}
        for name, column in self.columns.items():
            values = given.get(name)
            if values is None:
                values = np.full(n, "", dtype=object) if column.is_text else np.full(n, np.nan)
            elif len(values) != n:
                message = f"{name} has {len(values)} elements, others have {n}"
                raise Refusal(422, places.column.format(column=name), message, {"rows": n})
            checked[name] = _check_texts(column, values, places) if column.is_text else _check(column, values, places)
        return ColumnBatch(checked, self._order)

    def check_count(self, n: int, places: Places) -> int:
        """The number of rows, if it may be answered. Raises Refusal."""
        expected = {"type": "array", "minItems": 1, "maxItems": self.max_rows}
        if n == 0:
            raise Refusal(422, places.whole, "there are no rows; send at least one", expected)
        if n > self.max_rows:
            message = f"too many rows; send at most {self.max_rows} in a request"
            raise Refusal(422, places.whole, message, expected)
        return n

    def _check_names(self, given: Mapping[str, Any], places: Places) -> None:
        for name in given:
            if name not in self.columns:
                found = explain_unknown("", name, sorted(self.columns), "column")
                raise Refusal(422, places.column.format(column=found.path), found.message, found.expected)
        for name, column in self.columns.items():
            if name not in given and not column.nullable:
                raise Refusal(422, places.column.format(column=name), f"{name} is required", describe_schema(column))


def refuse_cell(column: Column, row: int, value: Any, places: Places) -> Refusal:
    """Refusal (422) of one value."""
    message = f"expected {describe_words(column)}, got {show(value)}"
    return Refusal(422, places.cell.format(column=column.name, row=row), message, describe_schema(column))


def _check(column: Column, values: NDArray[Any], places: Places) -> NDArray[np.float64]:
    """Numbers, and dates as days."""
    given = values
    if column.kind == "date" and values.dtype == object:
        values = _read_dates(column, given, places)
    missing, (low, high) = np.isnan(values), find_range(column)
    wrong = np.isinf(values)
    if not column.nullable:
        wrong |= missing
    if low is not None:
        wrong |= values < low
    if high is not None:
        wrong |= values > high
    if column.kind == "date":
        wrong |= (values < _FIRST_DAY) | (values > _LAST_DAY)
    if column.kind != "number":
        wrong |= (np.floor(values) != values) & ~missing
    if wrong.any():
        row = int(wrong.argmax())
        raise refuse_cell(column, row, _to_plain(column, given[row]), places)
    return np.ascontiguousarray(values, dtype=np.float64)


def _check_texts(column: Column, values: NDArray[Any], places: Places) -> NDArray[Any]:
    texts = values.tolist()
    found, known = set(texts), known_categories(column)
    wrong = found.difference(known) if known else found & {""}
    if column.nullable:
        wrong.discard("")
    if wrong:
        row = next(i for i, text in enumerate(texts) if text in wrong)
        raise refuse_cell(column, row, texts[row] or None, places)
    return values


def _read_dates(column: Column, values: NDArray[Any], places: Places) -> NDArray[np.float64]:
    texts = values.tolist()
    days = {text: _read_date(text) for text in set(texts)}
    if None in days.values():
        row = next(i for i, text in enumerate(texts) if days[text] is None)
        raise refuse_cell(column, row, texts[row], places)
    return np.array([days[text] for text in texts], dtype=np.float64)


def _read_date(text: str) -> float | None:
    """Days since 1970-01-01, NaN for a missing date, None if it is none."""
    if not text:
        return np.nan
    try:
        return msgspec.convert(text, date).toordinal() - EPOCH  # the rules of a JSON row's dates
    except msgspec.ValidationError:
        return None


def _to_plain(column: Column, value: Any) -> Any:
    """A value as its sender wrote it."""
    if isinstance(value, str):
        return value or None
    if not np.isfinite(value):
        return None if np.isnan(value) else f"{value}"
    if column.kind == "date" and _FIRST_DAY <= value <= _LAST_DAY:
        return to_date(value).isoformat()
    return float(value)
