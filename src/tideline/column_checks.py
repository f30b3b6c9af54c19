"""Columns held against a manifest: the rules of a served row, applied to whole arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tideline.column_rules import (
    EPOCH,
    describe_schema,
    describe_words,
    find_range,
    hint_meant,
    known_categories,
    show,
    to_date,
)
from tideline.contracts import Column, TidelineError

_FIRST_DAY, _LAST_DAY = date.min.toordinal() - EPOCH, date.max.toordinal() - EPOCH


class WrongColumn(TidelineError):
    """A column that is lacking, unknown, or of the wrong length or type. `expected` is JSON-ready."""

    def __init__(self, column: str, message: str, expected: Any = None) -> None:
        super().__init__(f"column {column}: {message}")
        self.column, self.message, self.expected = column, message, expected


class WrongCell(TidelineError):
    """A value that breaks its column's rules; `row` counts from 0."""

    def __init__(self, column: Column, row: int, value: Any) -> None:
        self.message = f"expected {describe_words(column)}, got {show(value)}"
        super().__init__(f"row {row}, column {column.name}: {self.message}")
        self.column, self.row, self.expected = column.name, row, describe_schema(column)


class ColumnChecker:
    """Checks raw columns: float64 with NaN, or objects (str) with "", where a value is missing.

    A nullable column may be left out. Ranges and categories are enforced unless the column's severity for that rule is
    "warning", as the training data was allowed to break them then.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = {c.name: c for c in columns}
        kinds = ("number", "integer", "date", "category")
        self.order = sorted(columns, key=lambda c: kinds.index(c.kind))  # that of a decoded row

    def check_names(self, given: Iterable[str]) -> None:
        """Raises WrongColumn if one is unknown, or a required one lacks."""
        names = list(given)
        for name in names:
            if name not in self.columns:
                shown, known = name if len(name) <= 60 else name[:57] + "...", sorted(self.columns)
                raise WrongColumn(shown, f"unknown column {shown!r}{hint_meant(shown, known)}", known)
        self.check_required(names)

    def check_required(self, given: Iterable[str]) -> None:
        """Raises WrongColumn if a required one lacks."""
        names = set(given)
        for name, column in self.columns.items():
            if name not in names and not column.nullable:
                raise WrongColumn(name, f"{name} is required", describe_schema(column))

    def check(self, given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All columns (n,) as `Predictor.predict` takes them; dates may be given as ISO strings or as days since
        1970-01-01. Raises WrongColumn or WrongCell."""
        self.check_names(given)
        n = max(map(len, given.values()), default=0)
        checked = {}
        for name, column in self.columns.items():
            values = given.get(name)
            if values is None:
                values = np.full(n, "", dtype=object) if column.is_text else np.full(n, np.nan)
            elif len(values) != n:
                raise WrongColumn(name, f"{name} has {len(values)} elements, others have {n}", {"rows": n})
            checked[name] = _check_texts(column, values) if column.is_text else _check(column, values)
        return checked


def _check(column: Column, values: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers, and dates as days."""
    given = values
    if column.kind == "date" and values.dtype == object:
        values = _read_dates(column, given)
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
        raise WrongCell(column, row, _to_plain(column, given[row]))
    return np.ascontiguousarray(values, dtype=np.float64)


def _check_texts(column: Column, values: NDArray[Any]) -> NDArray[Any]:
    texts = values.tolist()
    found, known = set(texts), known_categories(column)
    wrong = found.difference(known) if known else found & {""}
    if column.nullable:
        wrong.discard("")
    if wrong:
        row = next(i for i, text in enumerate(texts) if text in wrong)
        raise WrongCell(column, row, texts[row] or None)
    return values


def _read_dates(column: Column, values: NDArray[Any]) -> NDArray[np.float64]:
    texts = values.tolist()
    days = {text: _read_date(text) for text in set(texts)}
    if None in days.values():
        row = next(i for i, text in enumerate(texts) if days[text] is None)
        raise WrongCell(column, row, texts[row])
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
