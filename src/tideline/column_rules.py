"""What a served value of a column must keep: as a rule, as JSON Schema for clients, in words for people."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import date
from typing import Any

import msgspec

from tideline.contracts import Column, Rule

EPOCH = date(1970, 1, 1).toordinal()


def is_enforced(column: Column, rule: Rule) -> bool:
    """False if the training data was allowed to break the rule, so that a served row may as well."""
    return column.severity.get(rule, "error") == "error"


def find_range(column: Column) -> tuple[float | None, float | None]:
    """Bounds that a served value must keep; for a date in days since 1970-01-01."""
    return (column.minimum, column.maximum) if is_enforced(column, "range") else (None, None)


def known_categories(column: Column) -> tuple[str, ...]:
    """The categories a served value must be one of; empty if any text will do."""
    return column.categories if is_enforced(column, "categories") else ()


def describe_schema(column: Column) -> dict[str, Any]:
    """A column as JSON Schema with its range, categories, unit and description."""
    kind = {"number": "number", "integer": "integer", "category": "string", "date": "string"}[column.kind]
    schema: dict[str, Any] = {"type": [kind, "null"] if column.nullable else kind}
    bounds = zip(("minimum", "maximum"), find_range(column), strict=True)
    if column.kind == "date":
        schema["format"] = "date"
        schema.update({f"x-{key}": to_date(bound).isoformat() for key, bound in bounds if bound is not None})
    elif column.kind == "category":
        if known := known_categories(column):
            schema["enum"] = [*known, None] if column.nullable else list(known)
        else:
            schema["minLength"] = 1
    else:
        schema.update({key: as_number(bound) for key, bound in bounds if bound is not None})
    if column.unit:
        schema["x-unit"] = column.unit
    if column.description:
        schema["description"] = column.description
    return schema


def describe_words(column: Column) -> str:
    """What the column may hold, in words."""
    low, high = find_range(column)
    if column.kind == "category":
        known = known_categories(column)
        words = "one of " + ", ".join(map(repr, known)) if known else "a string that is not empty"
    elif column.kind == "date":
        bounds = (None if bound is None else to_date(bound).isoformat() for bound in (low, high))
        words = "a date YYYY-MM-DD" + _range_words(*bounds)
    else:
        words = "a whole number" if column.kind == "integer" else "a number"
        words += _range_words(as_number(low), as_number(high))
    return words + (" or null" if column.nullable else "")


def to_date(days: float) -> date:
    """The date that lies so many days after 1970-01-01."""
    return date.fromordinal(int(days) + EPOCH)


def as_number(value: float | None) -> float | int | None:
    """41.0 as 41, for people."""
    return int(value) if value is not None and float(value).is_integer() else value


def _range_words(low: Any, high: Any) -> str:
    if low is None:
        return "" if high is None else f" up to {high}"
    return f" from {low}" + ("" if high is None else f" to {high}")


def hint_meant(name: str, known: Sequence[str]) -> str:
    """`; did you mean 'x'?`, if one of the names known is close to this one."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def show(value: Any) -> str:
    """A received value, short, for a message."""
    if isinstance(value, list):
        return "an array"
    if isinstance(value, dict):
        return "an object"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."
