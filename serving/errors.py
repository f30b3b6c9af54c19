"""Refusals: what a client is told when a request cannot be answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tideline.column_rules import show as show


class Refusal(Exception):
    """A request that is not answered: 4xx, or 503 where it may be sent again.

    `path` is the field, such as `rows[3].median_income`, or the part of the request (`body`, `header content-type`).
    `expected` is JSON-ready: a schema, a list of allowed values, or a limit.
    """

    def __init__(
        self, status: int, path: str, message: str, expected: Any = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.path, self.message, self.expected = status, path, message, expected
        self.headers = dict(headers or {})

    def to_json(self) -> bytes:
        """{"error": {"path", "message", "expected"}}."""
        return encode_error(self.path, self.message, self.expected)


def encode_refusal(refusal: Refusal, path: str) -> bytes:
    """The body of a refusal. Below /v2 it has the Open Inference Protocol's shape, {"error": TEXT}, with the detail
    beside it."""
    if path != "/v2" and not path.startswith("/v2/"):
        return refusal.to_json()
    text = f"{refusal.path}: {refusal.message}" if refusal.path else refusal.message
    detail = {"path": refusal.path, "message": refusal.message, "expected": refusal.expected}
    return msgspec.json.encode({"error": text, **detail})


class UnanswerableRow(Exception):
    """The model gives no finite number for this row (position in what was handed to it)."""

    def __init__(self, row: int) -> None:
        super().__init__(f"row {row}")
        self.row = row


def encode_error(path: str, message: str, expected: Any = None) -> bytes:
    """The body of every answer that is not a 2xx."""
    return msgspec.json.encode({"error": {"path": path, "message": message, "expected": expected}})
