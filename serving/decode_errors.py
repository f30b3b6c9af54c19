"""What was wrong with a body: from the decoder's error to the path of the field and what was expected there.

This is the slow path: the body is read a second time, without a schema, to quote the offending value.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from serving.errors import Refusal, show
from tideline.column_rules import describe_schema, describe_words
from tideline.contracts import Column

_PLACE = re.compile(r"^(?P<text>.*?)(?: - at `\$(?P<place>.*)`)?$", re.DOTALL)
_ROW = re.compile(r"^\.rows\[(?P<row>\d+)\](?:\.(?P<column>.*))?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<field>.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<field>.*)`$", re.DOTALL)
_NOT_A_NUMBER = "NaN", "Infinity", "-Infinity"


def explain_invalid(error: str, body: bytes, columns: Mapping[str, Column], max_rows: int) -> Refusal:
    """Refusal (422) of JSON that is not what was expected; `error` is msgspec's message."""
    quoted, place = split_error(error)
    text = quoted.replace("`", "")
    rows = {"type": "array", "minItems": 1, "maxItems": max_rows}
    if (name := match_missing(quoted)) is not None:
        expected = describe_schema(columns[name]) if place else rows
        return Refusal(422, f"{place}.{name}".lstrip("."), f"{name} is required", expected)
    if (name := match_unknown(quoted)) is not None:
        return explain_unknown(place, name, sorted(columns) if place else ["rows"], "column" if place else "key")
    if at_row := _ROW.match(place):
        got = _find_value(body, int(at_row["row"]), at_row["column"])
        if at_row["column"] is None:
            message = "expected an object with the columns as keys" + (f", got {got}" if got else "")
            return Refusal(422, place.lstrip("."), message, sorted(columns))
        column = columns[at_row["column"]]
        message = f"expected {describe_words(column)}" + (f", got {got}" if got else f" ({text})")
        return Refusal(422, place.lstrip("."), message, describe_schema(column))
    if place == ".rows" and text.startswith("Expected array of length >="):
        return Refusal(422, "rows", "the list is empty; send at least one row", rows)
    if place == ".rows" and text.startswith("Expected array of length <="):
        return Refusal(422, "rows", f"too many rows; send at most {max_rows} in a request", rows)
    if place == ".rows":
        return Refusal(422, "rows", f"expected a list of rows ({text})", rows)
    return Refusal(422, "body", f'expected {{"rows": [{{...}}]}} ({text})', {"rows": rows})


def explain_malformed(error: Exception, body: bytes, key: str = "rows") -> Refusal:
    """Refusal (400) of a body that is not JSON: {key: [{...}]}. A NaN or Infinity literal is found and named."""
    expected = f'JSON: {{"{key}": [{{...}}]}}'
    if isinstance(error, UnicodeDecodeError):
        return Refusal(400, "body", f"the body is not UTF-8 ({error.reason})", "JSON in UTF-8")
    if isinstance(error, RecursionError):
        return Refusal(400, "body", "the body is nested too deeply", expected)
    if literal := _find_literal(body, key):
        path, name = literal
        return Refusal(400, path, f"JSON knows no {name}; send null where a value is missing", "JSON")
    return Refusal(400, "body", f"the body is not JSON ({error})", expected)


def explain_unknown(place: str, name: str, known: list[str], kind: str) -> Refusal:
    """Refusal (422) of a key that is not known; `kind` says what it would be."""
    shown = name if len(name) <= 60 else name[:57] + "..."
    close = difflib.get_close_matches(shown, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return Refusal(422, f"{place}.{shown}".lstrip("."), f"unknown {kind} {shown!r}{hint}", known)


def split_error(error: str) -> tuple[str, str]:
    """msgspec's message, and the place it is about, such as `.rows[3].income`."""
    match = _PLACE.match(error)
    assert match is not None
    return match["text"], match["place"] or ""


def match_missing(text: str) -> str | None:
    """The field that msgspec says is missing; None if it says something else."""
    match = _MISSING.match(text)
    return match["field"] if match else None


def match_unknown(text: str) -> str | None:
    """The field that msgspec says is unknown; None if it says something else."""
    match = _UNKNOWN.match(text)
    return match["field"] if match else None


def _find_value(body: bytes, row: int, column: str | None) -> str:
    """The value at fault in words, or "" if it is not found there: numbers too large, too deep, keys given twice."""
    try:
        found = msgspec.json.decode(body)["rows"][row]
        return show(found if column is None else found[column])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        return ""


def _find_literal(body: bytes, key: str) -> tuple[str, str] | None:
    """Path and name of the first NaN or Infinity of a body that Python's lenient reader accepts."""
    if not any(name.encode() in body for name in _NOT_A_NUMBER):
        return None
    marks: list[str] = []

    class Literal(str):
        __slots__ = ()

    def mark(name: str) -> Any:
        marks.append(name)
        return Literal(name)

    try:
        lenient = json.loads(body, parse_constant=mark)
    except (ValueError, RecursionError):
        return None
    if not marks:
        return None
    if isinstance(lenient, dict) and isinstance(lenient.get(key), list):
        for number, row in enumerate(lenient[key]):
            for name, value in row.items() if isinstance(row, dict) else ():
                if isinstance(value, Literal):
                    return f"{key}[{number}].{name[:60].encode(errors='replace').decode()}", str(value)
    return "body", marks[0]
