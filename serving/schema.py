"""The manifest's columns as a compiled decoder: a JSON body in, columns out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from serving.decode_errors import explain_invalid, explain_malformed
from serving.errors import Refusal, show
from tideline.column_rules import EPOCH, describe_schema, describe_words, find_range, known_categories, to_date
from tideline.contracts import Column

Row = Any  # an instance of the decoder's own msgspec.Struct, with the columns' names when it is encoded


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
        fields: list[Any] = [
            (f"c{i}", _decoded_type(c) | None, None) if c.nullable else (f"c{i}", _decoded_type(c))
            for i, c in enumerate(ordered)
        ]
        names = {f"c{i}": c.name for i, c in enumerate(ordered)}  # a column's name need not be a Python name
        self.row = msgspec.defstruct("Row", fields, rename=names, forbid_unknown_fields=True, kw_only=True, gc=False)
        rows = Annotated[list[self.row], msgspec.Meta(min_length=1, max_length=max_rows)]  # type: ignore[name-defined]
        self._fields = {c.name: (f"c{i}", c) for i, c in enumerate(ordered)}
        request = msgspec.defstruct("Request", [("rows", rows)], forbid_unknown_fields=True, gc=False)
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(request)

    def decode(self, body: bytes) -> list[Row]:
        """The rows of a request's body. Raises Refusal."""
        try:
            rows: list[Row] = self._decoder.decode(body).rows
        except msgspec.ValidationError as error:
            raise explain_invalid(str(error), body, self.columns, self.max_rows) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise explain_malformed(error, body) from None
        if self._dates:
            self.check_dates(rows)
        return rows

    def check_dates(self, rows: Sequence[Row]) -> None:
        """Raises Refusal for a date out of its range, which the compiled pass does not know."""
        for i, column in self._dates:
            field = f"c{i}"
            _check_dates(column, [getattr(row, field) for row in rows])

    def make_rows(self, columns: Mapping[str, NDArray[Any]]) -> list[Row]:
        """What `to_columns` makes columns of, from columns that were checked."""
        fields = [
            [(field, _to_value(column, value)) for value in columns[name].tolist()]
            for name, (field, column) in self._fields.items()
        ]
        return [self.row(**dict(pairs)) for pairs in zip(*fields, strict=True)]

    def to_columns(self, rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
        """Decoded rows (n) as the predictor's columns (n,): float64 (NaN = missing), object strings ("" = missing)."""
        k, rows = len(self._numbers), [astuple(row) for row in rows]
        columns: dict[str, NDArray[Any]] = {}
        if k:
            matrix = np.array([row[:k] for row in rows], dtype=np.float64).T.copy()
            columns.update(zip(self._numbers, matrix, strict=True))
        for i, column in self._dates:
            days = [None if row[i] is None else row[i].toordinal() - EPOCH for row in rows]
            columns[column.name] = np.array(days, dtype=np.float64)
        for i, column in self._texts:
            columns[column.name] = np.array([row[i] or "" for row in rows], dtype=object)
        return columns


def _to_value(column: Column, value: Any) -> Any:
    """A cell of a checked column as the decoder reads it."""
    if column.is_text:
        return value or None
    if value != value:  # NaN
        return None
    return to_date(value) if column.kind == "date" else value


def _check_dates(column: Column, values: Sequence[date | None]) -> None:
    low, high = find_range(column)
    for number, value in enumerate(values):
        if value is None:
            continue
        days = value.toordinal() - EPOCH
        if (low is not None and days < low) or (high is not None and days > high):
            message = f"expected {describe_words(column)}, got {show(value)}"
            raise Refusal(422, f"rows[{number}].{column.name}", message, describe_schema(column))


def _decoded_type(column: Column) -> Any:
    """The type that msgspec decodes and validates a value to, without null."""
    if column.kind == "date":
        return date
    if column.kind == "category":
        known = known_categories(column)
        return Literal[known] if known else Annotated[str, msgspec.Meta(min_length=1)]
    low, high = find_range(column)
    whole = 1.0 if column.kind == "integer" else None  # 41.0 is a whole number too: data frames write it so
    return Annotated[float, msgspec.Meta(ge=low, le=high, multiple_of=whole)]
