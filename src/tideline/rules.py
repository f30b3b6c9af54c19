"""What a task demands of its raw data, as checks; and what a check came to. Knows no framework of validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from numbers import Real
from typing import Any

import pandas as pd

from tideline.contracts import Column, Kind, Severity, Task

EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Check:
    """One rule on one column (or on the table: column is empty): an expectation's name and its arguments."""

    column: str
    rule: str
    wanted: str
    expectation: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity = "error"
    kind: Kind = "number"


@dataclass(frozen=True)
class Finding:
    """What a check came to: how many of how many values are against it, and a few of them (or what was seen)."""

    check: Check
    holds: bool
    count: int
    total: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        place = f"column {self.check.column!r}" if self.check.column else "table"
        state = "holds" if self.holds else "broken"
        share = f" in {self.count:,} of {self.total:,} rows ({self.share:.2%})" if self.count else ""
        examples = f"; such as {', '.join(self.examples)}" if self.examples else ""
        return f"{place}, rule {self.check.rule}: expected {self.check.wanted}, {state}{share}{examples}"

    @property
    def share(self) -> float:
        """Of the rows, those against the check."""
        return self.count / self.total if self.total else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: column, rule, expected, count, total, share, examples."""
        return {
            "column": self.check.column,
            "rule": self.check.rule,
            "expected": self.check.wanted,
            "count": self.count,
            "total": self.total,
            "share": self.share,
            "examples": list(self.examples),
        }


def derive_checks(task: Task, frame: pd.DataFrame) -> list[Check]:
    """All rules that a task states: row count, columns, and of each column type, range, categories, and so on."""
    columns = (*task.columns, *task.extra, task.target)
    low, high = task.rows
    names = [c.name for c in columns]
    checks = [
        Check("", "rows", f"{low:,} to {high:,} rows" if high < 2**53 else f"at least {low:,} rows",
              "ExpectTableRowCountToBeBetween", {"min_value": low, "max_value": high}),
        Check("", "columns", f"the columns {', '.join(names)}",
              "ExpectTableColumnsToMatchSet", {"column_set": names, "exact_match": True}),
    ]  # fmt: skip
    for column in columns:
        if column.name in frame:
            checks += _column_checks(column, is_text=not pd.api.types.is_numeric_dtype(frame[column.name]))
    return checks


def _column_checks(column: Column, is_text: bool) -> list[Check]:
    def check(rule: str, wanted: str, expectation: str, **arguments: Any) -> Check:
        severity = column.severity.get(rule, "error")
        return Check(
            column.name, rule, wanted, expectation, {"column": column.name, **arguments}, severity, column.kind
        )

    words = {"number": "finite numbers", "integer": "whole numbers", "date": "dates", "category": "text"}
    if column.is_text:
        checks = [check("type", "text", "ExpectColumnValuesToBeOfType", type_="str")]
    else:
        checks = [
            check("type", "numbers", "ExpectColumnValuesToBeOfType", type_="float64"),
            check("type", words[column.kind], "values_of_kind", kind=column.kind),
        ]
    # A column of text has no order: its type breach stands for the range too.
    if (column.minimum is not None or column.maximum is not None) and not is_text:
        low, high = column.minimum, column.maximum
        limits = " to ".join("any" if limit is None else write_limit(limit, column.kind) for limit in (low, high))
        wanted = f"{limits} {column.unit}".rstrip()
        checks.append(check("range", wanted, "ExpectColumnValuesToBeBetween", min_value=low, max_value=high))
    if column.categories:
        values = list(column.categories)
        checks.append(check("categories", f"one of {values}", "ExpectColumnValuesToBeInSet", value_set=values))
    if column.unique:
        checks.append(check("unique", "no value twice", "ExpectColumnValuesToBeUnique"))
    wanted = f"at most {column.missing:.2%} missing" if column.missing else "none missing"
    checks.append(check("missing", wanted, "ExpectColumnValuesToNotBeNull", mostly=1.0 - column.missing))
    return checks


def write_value(value: Any, kind: Kind) -> str:
    """A raw value, exactly: days since 1970-01-01 as a date, text in quotes."""
    if not isinstance(value, Real):
        return repr(value)
    return _write_day(float(value), kind) or repr(float(value)).removesuffix(".0")


def write_limit(value: float, kind: Kind) -> str:
    """An end of a range, rounded for a person: days since 1970-01-01 as a date, thousands separated."""
    return _write_day(value, kind) or f"{value:,.10g}"


def _write_day(value: float, kind: Kind) -> str:
    whole = kind == "date" and value % 1 == 0 and abs(value) < 700_000  # the years that a date can have
    return str(EPOCH + timedelta(days=int(value))) if whole else ""
