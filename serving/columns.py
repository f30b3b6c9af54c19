"""A manifest's column as a type for the decoder; the rules behind it are tideline.column_rules, for all formats."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

import msgspec

from tideline.column_rules import (
    EPOCH,
    as_number,
    describe_schema,
    describe_words,
    find_range,
    known_categories,
    to_date,
)
from tideline.contracts import Column

__all__ = ["EPOCH", "as_number", "decoded_type", "describe_schema", "describe_words", "find_range", "to_date"]


def decoded_type(column: Column) -> Any:
    """The type that msgspec decodes and validates a value to, without null."""
    if column.kind == "date":
        return date
    if column.kind == "category":
        known = known_categories(column)
        return Literal[known] if known else Annotated[str, msgspec.Meta(min_length=1)]
    low, high = find_range(column)
    whole = 1.0 if column.kind == "integer" else None  # 41.0 is a whole number too: data frames write it so
    return Annotated[float, msgspec.Meta(ge=low, le=high, multiple_of=whole)]
