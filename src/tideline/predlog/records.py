"""What goes into the store and what comes back: records, labels, and the errors of a store that does not answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

import msgspec

from tideline.contracts import TidelineError

Role = Literal["champion", "canary", "shadow"]
LabelState = Literal["accepted", "repeated", "corrected", "unknown", "invalid"]
Row = tuple[
    str, str, int, str, str, str, str | None, str | None, str, float | None, str | None, str | None, str | None, int
]

# The route of a request that named its version: it is logged, but compares nothing, as nobody drew who answers it.
NAMED = "/v2/versions/infer"

_encode = msgspec.json.Encoder().encode


class StoreUnavailable(TidelineError):
    """The store did not take it: nothing was acknowledged, and it may be sent again."""


class QueueFull(StoreUnavailable):
    """More records wait for the store than may wait."""


class RecordRefused(TidelineError):
    """A record that no store can take: it breaks a rule of the table."""


class Record(msgspec.Struct, gc=False):
    """One prediction as it is logged.

    time: µs since 1970-01-01 UTC. latency: µs. features: the raw row, as a mapping, a msgspec Struct, msgspec.Raw or
    JSON text (str). Regression has `prediction`, in the target's unit; classification `predicted_class` and
    `probabilities` ({class: p}). intervals: {level: [lower, upper]}, or {level: [class, ...]} for sets. `key` is the
    caller's sticky key, `route` how the request came. Mappings are encoded later, by the writer: they must not be
    changed after the record was handed over.
    """

    prediction_id: str
    request_id: str
    time: int
    task: str
    version: str
    role: Role
    features: Any
    prediction: float | None = None
    predicted_class: str | None = None
    probabilities: Any = None
    intervals: Any = None
    latency: int = 0
    key: str | None = None
    route: str | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """What turned out to be true: a number in the target's unit, or a class name."""

    prediction_id: str
    value: float | str


@dataclass(frozen=True, slots=True)
class LabelAnswer:
    """What became of a label. `reason` says why it is unknown or invalid, or what it corrects.

    For a label that was accepted, repeated or corrected also what it is about: the prediction's task, version and role,
    its absolute error (in the target's unit; 0 or 1 for classes), and how long the label took (lag, µs).
    """

    prediction_id: str
    state: LabelState
    reason: str = ""
    task: str = ""
    version: str = ""
    role: str = ""
    absolute_error: float | None = None
    lag: int | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where acknowledged records are: in the store, or in the journal until the store is back."""

    rows: int
    place: Literal["store", "journal"]


def to_rows(records: Iterable[Record]) -> list[Row]:
    """Records as rows of the table `predictions`, in the order of its columns.

    Raises RecordRefused if a record has not exactly one of prediction (finite) and predicted_class, or holds something
    that cannot be written as JSON.
    """
    rows: list[Row] = []
    for r in records:
        if (r.prediction is None) is (r.predicted_class is None) or not isfinite(r.prediction or 0.0):
            found = f"prediction {r.prediction} and predicted_class {r.predicted_class}"
            raise RecordRefused(f"record {r.prediction_id} has {found}; it takes one of them, and a finite number")
        try:
            features, probabilities = _to_text(r.features) or "{}", _to_text(r.probabilities)
            intervals = _to_text(r.intervals)
        except (TypeError, ValueError) as error:  # among them UnicodeError and msgspec's own
            raise RecordRefused(f"record {r.prediction_id} is no JSON: {error}; its values must be plain") from error
        rows.append((
            r.prediction_id, r.request_id, r.time, r.task, r.version, r.role, r.key, r.route, features,
            r.prediction, r.predicted_class, probabilities, intervals, r.latency,
        ))  # fmt: skip
    return rows


def pack_rows(rows: Sequence[Row]) -> bytes:
    """Rows as the journal keeps them. Raises RecordRefused if they cannot be read back as rows."""
    try:
        payload = _encode(rows)
        unpack_rows(payload)
    except (TypeError, ValueError) as error:
        raise RecordRefused(f"a record does not fit its columns: {error}; see docs/prediction-log.md") from error
    return payload


def unpack_rows(payload: bytes) -> list[Row]:
    """What `pack_rows` packed. Raises msgspec.DecodeError for anything else."""
    return _decoder.decode(payload)


def _to_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return _encode(value).decode()


_decoder: msgspec.json.Decoder[list[Row]] = msgspec.json.Decoder(list[Row])
