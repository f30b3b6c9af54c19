"""The manifest's columns as a compiled decoder: JSON rows in, columns out, and a refusal that names the field."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from serving.errors import Refusal, show
from tideline.contracts import Column

EPOCH = date(1970, 1, 1).toordinal()
_PLACE = re.compile(r"^(?P<text>.*?)(?: - at `\$(?P<place>.*)`)?$", re.DOTALL)
_ROW = re.compile(r"^\.rows\[(?P<row>\d+)\](?:\.(?P<column>.*))?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<field>.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<field>.*)`$", re.DOTALL)


class RowDecoder:
    """Decodes and validates {"rows": [{...}]} in one compiled pass.

    A nullable column may be left out or null. Ranges and categories are enforced unless the column's severity for that
    rule is "warning", as the training data was allowed to break them then.
    """

    def __init__(self, columns: Sequence[Column], max_rows: int) -> None:
        self.columns = {c.name: c for c in columns}
        self.max_rows = max_rows
        # Numbers first: they leave a row as one slice of its tuple.
        ordered = sorted(columns, key=lambda c: ("number", "integer", "date", "category").index(c.kind))
        self._numbers = [c.name for c in ordered if c.kind in ("number", "integer")]
        self._dates = [(i, c) for i, c in enumerate(ordered) if c.kind == "date"]
        self._texts = [(i, c) for i, c in enumerate(ordered) if c.kind == "category"]
        names = {f"c{i}": c.name for i, c in enumerate(ordered)}  # a column's name need not be a Python name
        row = msgspec.defstruct(
            "Row",
            [
                (f"c{i}", _field_type(c) | None, None) if c.nullable else (f"c{i}", _field_type(c))
                for i, c in enumerate(ordered)
            ],
            rename=names,
            forbid_unknown_fields=True,
            kw_only=True,
            frozen=True,
            gc=False,
        )
        rows = Annotated[list[row], msgspec.Meta(min_length=1, max_length=max_rows)]  # type: ignore[valid-type]
        request = msgspec.defstruct("Request", [("rows", rows)], forbid_unknown_fields=True, gc=False)
        self._decoder = msgspec.json.Decoder(request)

    def decode(self, body: bytes) -> list[tuple[Any, ...]]:
        """The rows of a request body, each a tuple in this decoder's order. Raises Refusal."""
        try:
            rows = [astuple(row) for row in self._decoder.decode(body).rows]
        except msgspec.ValidationError as error:
            raise self._explain(str(error), body) from None
        except UnicodeDecodeError as error:
            raise Refusal(400, "body", f"the body is not UTF-8: {error.reason}", "JSON in UTF-8") from None
        except (msgspec.DecodeError, RecursionError) as error:
            hint = "; JSON knows no NaN or Infinity, send null" if _has_bare_nan(body) else ""
            raise Refusal(400, "body", f"the body is not valid JSON: {error}{hint}", "a JSON object") from None
        for i, column in self._dates:
            for number, row in enumerate(rows):
                self._check_date(number, column, row[i])
        return rows

    def to_columns(self, rows: Sequence[tuple[Any, ...]]) -> dict[str, NDArray[Any]]:
        """Decoded rows (n) as the predictor's columns (n,): float64 (NaN = missing) or object strings ("" = missing)."""
        k = len(self._numbers)
        matrix = np.array([row[:k] for row in rows], dtype=np.float64).T.copy()
        columns: dict[str, NDArray[Any]] = dict(zip(self._numbers, matrix, strict=True))
        for i, column in self._dates:
            days = [None if row[i] is None else row[i].toordinal() - EPOCH for row in rows]
            columns[column.name] = np.array(days, dtype=np.float64)
        for i, column in self._texts:
            columns[column.name] = np.array([row[i] or "" for row in rows], dtype=object)
        return columns

    def _check_date(self, number: int, column: Column, value: date | None) -> None:
        if value is None or not _enforced(column, "range"):
            return
        days = value.toordinal() - EPOCH
        low, high = column.minimum, column.maximum
        if (low is not None and days < low) or (high is not None and days > high):
            place = f"rows[{number}].{column.name}"
            message = f"expected {describe_column(column)}, got {show(value)}"
            raise Refusal(422, place, message, column_schema(column))

    def _explain(self, error: str, body: bytes) -> Refusal:
        match = _PLACE.match(error)
        assert match is not None
        text, place = match["text"], match["place"] or ""
        if lacking := _MISSING.match(text):
            name = lacking["field"]
            expected = column_schema(self.columns[name]) if name in self.columns else {"type": "array", "minItems": 1}
            return Refusal(422, f"{place}.{name}".lstrip("."), f"{name} is required and missing", expected)
        if unknown := _UNKNOWN.match(text):
            return self._explain_unknown(place, unknown["field"])
        at_row = _ROW.match(place)
        if at_row is None:
            return self._explain_body(text, place, body)
        got = _find_value(body, int(at_row["row"]), at_row["column"])
        if at_row["column"] is None:
            message = f"expected an object with the columns as keys, got {got or text}"
            return Refusal(422, place.lstrip("."), message, sorted(self.columns))
        column = self.columns[at_row["column"]]
        message = f"expected {describe_column(column)}, got {got}" if got else f"expected {describe_column(column)}: {text}"
        return Refusal(422, place.lstrip("."), message, column_schema(column))

    def _explain_unknown(self, place: str, name: str) -> Refusal:
        known = ["rows"] if not place else sorted(self.columns)
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        shown = name if len(name) <= 60 else name[:57] + "..."
        return Refusal(422, f"{place}.{shown}".lstrip("."), f"unknown {'column' if place else 'key'} {shown!r}{hint}", known)

    def _explain_body(self, text: str, place: str, body: bytes) -> Refusal:
        expected = {"type": "array", "minItems": 1, "maxItems": self.max_rows}
        if place == ".rows" and text.startswith("Expected `array` of length >="):
            return Refusal(422, "rows", "the list is empty; send at least one row", expected)
        if place == ".rows" and text.startswith("Expected `array` of length <="):
            return Refusal(422, "rows", f"too many rows; send at most {self.max_rows} a request", expected)
        if place == ".rows":
            return Refusal(422, "rows", f"expected a list of rows: {text}".replace("`", ""), expected)
        return Refusal(422, "body", f'expected {{"rows": [{{...}}]}}: {text}'.replace("`", ""), {"rows": expected})


def column_schema(column: Column) -> dict[str, Any]:
    """A column as JSON Schema, with its range, categories, unit and description."""
    kind = {"number": "number", "integer": "integer", "category": "string", "date": "string"}[column.kind]
    schema: dict[str, Any] = {"type": [kind, "null"] if column.nullable else kind}
    if column.kind == "date":
        schema["format"] = "date"
        for key, bound in (("x-minimum", column.minimum), ("x-maximum", column.maximum)):
            if bound is not None and _enforced(column, "range"):
                schema[key] = to_date(bound).isoformat()
    elif column.kind == "category":
        schema["minLength"] = 1
        if column.categories and _enforced(column, "categories"):
            schema["enum"] = [*column.categories, None] if column.nullable else list(column.categories)
    elif _enforced(column, "range"):
        bounds = (("minimum", column.minimum), ("maximum", column.maximum))
        schema.update({key: _plain(bound) for key, bound in bounds if bound is not None})
    note = " ".join(filter(None, (column.description, f"[{column.unit}]" if column.unit else "")))
    if note:
        schema["description"] = note
    return schema


def describe_column(column: Column) -> str:
    """What the column may hold, in words."""
    low, high = (column.minimum, column.maximum) if _enforced(column, "range") else (None, None)
    if column.kind == "category":
        known = column.categories if _enforced(column, "categories") else ()
        words = "one of " + ", ".join(map(repr, known)) if known else "a string that is not empty"
    elif column.kind == "date":
        words = "a date YYYY-MM-DD" + _range_words(
            None if low is None else to_date(low).isoformat(), None if high is None else to_date(high).isoformat()
        )
    else:
        words = ("a whole number" if column.kind == "integer" else "a number") + _range_words(_plain(low), _plain(high))
    return words + (" or null" if column.nullable else "")


def to_date(days: float) -> date:
    """The date that lies so many days after 1970-01-01."""
    return date.fromordinal(int(days) + EPOCH)


def _range_words(low: Any, high: Any) -> str:
    if low is None:
        return "" if high is None else f" up to {high}"
    return f" from {low}" + ("" if high is None else f" to {high}")


def _field_type(column: Column) -> Any:
    if column.kind == "date":
        return date
    if column.kind == "category":
        if column.categories and _enforced(column, "categories"):
            return Literal[column.categories]
        return Annotated[str, msgspec.Meta(min_length=1)]
    low, high = (column.minimum, column.maximum) if _enforced(column, "range") else (None, None)
    whole = 1.0 if column.kind == "integer" else None  # 41.0 is a whole number too: frames and scripts write it so
    if low is None and high is None and whole is None:
        return float
    return Annotated[float, msgspec.Meta(ge=low, le=high, multiple_of=whole)]


def _enforced(column: Column, rule: str) -> bool:
    return column.severity.get(rule, "error") == "error"


def _plain(bound: float | None) -> float | int | None:
    return int(bound) if bound is not None and float(bound).is_integer() else bound


def _has_bare_nan(body: bytes) -> bool:
    return any(word in body for word in (b"NaN", b"Infinity", b"nan", b"inf"))


def _find_value(body: bytes, row: int, column: str | None) -> str:
    """The offending value in words, or "" if the body cannot be read without a schema (numbers too large, too deep)."""
    try:
        found = msgspec.json.decode(body)["rows"][row]
        return show(found if column is None else found[column])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ""
