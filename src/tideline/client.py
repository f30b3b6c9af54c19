"""A client of the prediction server: typed answers, errors with the field they are about, patience with a busy server.

with Client("http://localhost:3000", key=KEY) as client:
    answer = client.predict([{"income": 3.5, ...}])
    table = client.predict_frame(frame)                    # pandas or pyarrow, of any size
    client.feedback({answer.prediction_ids[0]: 452_600})
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx
import msgspec

from tideline.contracts import TidelineError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    Frame = TypeVar("Frame", pd.DataFrame, pa.Table)

ARROW = "application/vnd.apache.arrow.stream"
BATCH_ROWS, BATCH_LABELS = 10_000, 1_000  # what a server takes in a request by default
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between tries while nobody listens
_BROKEN = httpx.NetworkError, httpx.RemoteProtocolError
_ROW = re.compile(r"^rows\[(\d+)\]")
T = TypeVar("T")


class Refused(TidelineError):
    """The server did not answer, or cannot be asked this: `status` of HTTP, `path` of the field, `message`, and what
    was `expected` there."""

    def __init__(self, status: int, path: str, message: str, expected: Any = None) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.status, self.path, self.message, self.expected = status, path, message, expected


class ServerAway(TidelineError):
    """Nobody answered within the client's patience, or not within its time-out."""


class Model(msgspec.Struct, frozen=True):
    """Which version answered."""

    task: str
    name: str
    version: str


class Predictions(msgspec.Struct, frozen=True):
    """Answers of n rows, in their order.

    predictions: numbers in the target's unit, or names of classes. prediction_ids: empty if the server keeps no log.
    intervals: {level: n pairs of bounds}. Classification has probabilities, n times {class: p}, and sets, {level: n
    tuples of classes}, instead.
    """

    model: Model
    predictions: tuple[float | str, ...]
    prediction_ids: tuple[str, ...] = ()
    intervals: dict[str, tuple[tuple[float, float], ...]] = {}
    probabilities: tuple[dict[str, float], ...] = ()
    sets: dict[str, tuple[tuple[str, ...], ...]] = {}


class TakenLabel(msgspec.Struct, frozen=True):
    """What became of a label: accepted, repeated, corrected, unknown or invalid, and why."""

    prediction_id: str
    state: str
    reason: str
    version: str | None
    lag_seconds: float | None


class PendingError(msgspec.Struct, frozen=True):
    """Why the version that the registry names is not served."""

    version: str
    error: str
    since: str


class ServedModel(msgspec.Struct, frozen=True):
    """What a server tells about the version it serves; `columns` as /openapi.json describes them."""

    task: str
    title: str
    problem: str
    name: str
    version: str
    digest: str
    columns: tuple[dict[str, Any], ...]
    classes: tuple[str, ...]
    intervals: tuple[float, ...]
    metrics: dict[str, Any]
    pending_error: PendingError | None = None


class _Taken(msgspec.Struct):
    labels: tuple[TakenLabel, ...]


class Client:
    """Keeps its connections; use it as a context manager, from any number of threads.

    `key` is an API key, `timeout` in seconds for a request. A request that is refused because the server is busy (429,
    503), or finds nobody, is sent again, as the server's Retry-After says, for at most `patience` seconds. A prediction
    whose connection broke may thereby be in the log twice; labels never are.

    Every method raises Refused or ServerAway; the constructor TidelineError for what cannot be a key.
    """

    def __init__(self, url: str, key: str | None = None, timeout: float = 30.0, patience: float = 30.0) -> None:
        if key and not (key.isascii() and key.isprintable()):
            raise TidelineError("key: expected what `tideline keys add` printed, printable ASCII")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout)
        self.url, self.patience = url, patience

    def predict(self, rows: Sequence[Mapping[str, Any]], sticky_key: str | None = None) -> Predictions:
        """Predict rows ({column: value}) in one request; those with the same `sticky_key` are answered by the same
        version while one is being tried out."""
        body = msgspec.json.encode({"rows": rows}, enc_hook=_to_plain)
        headers = {"content-type": "application/json", **_stick(sticky_key)}
        return _decode(self._send("POST", "/predict", body, headers), Predictions)

    def predict_frame(self, frame: Frame, sticky_key: str | None = None, batch_rows: int = BATCH_ROWS) -> Frame:
        """Predict a pandas frame or an Arrow table of the model's columns, `batch_rows` in a request.

        The answer is of the same kind, one row a row: prediction_id, prediction, lower_<level> and upper_<level> (or
        probability_<class> and set_<level>), model_version. pandas' index is kept. Raises Refused for no rows, too.
        """
        import pyarrow as pa

        if not isinstance(frame, pa.Table):
            table = pa.Table.from_pandas(frame, preserve_index=False)
            answer = self._predict_table(table, sticky_key, batch_rows).to_pandas()
            answer.index = frame.index
            return answer  # type: ignore[no-any-return]
        return self._predict_table(frame, sticky_key, batch_rows)  # type: ignore[no-any-return]

    def feedback(self, labels: Mapping[str, float | str]) -> tuple[TakenLabel, ...]:
        """Say what turned out to be true, {prediction_id: label}; 1,000 a request, each stored wholly or not at all."""
        taken: list[TakenLabel] = []
        pairs = iter(labels.items())
        while batch := [{"prediction_id": name, "label": label} for name, label in islice(pairs, BATCH_LABELS)]:
            body = msgspec.json.encode({"labels": batch}, enc_hook=_to_plain)
            answer = self._send("POST", "/feedback", body, {"content-type": "application/json"})
            taken += _decode(answer, _Taken).labels
        return tuple(taken)

    def model(self) -> ServedModel:
        """The version that is served."""
        return _decode(self._send("GET", "/model"), ServedModel)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _predict_table(self, table: pa.Table, sticky_key: str | None, batch_rows: int) -> pa.Table:
        import pyarrow as pa

        headers = {"content-type": ARROW, "accept": ARROW, **_stick(sticky_key)}
        parts = []
        for start in range(0, max(1, table.num_rows), batch_rows):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table.slice(start, batch_rows))
            try:
                answer = self._send("POST", "/predict", sink.getvalue().to_pybytes(), headers)
            except Refused as error:
                path = _ROW.sub(lambda match, first=start: f"rows[{first + int(match[1])}]", error.path)  # type: ignore[misc]
                raise Refused(error.status, path, error.message, error.expected) from None
            part = pa.ipc.open_stream(answer.content).read_all()
            versions = pa.array([answer.headers["x-model-version"]] * part.num_rows)
            parts.append(part.append_column("model_version", versions).replace_schema_metadata())
        return pa.concat_tables(parts)

    def _send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        deadline, pauses = time.monotonic() + self.patience, _double()
        while True:
            try:
                answer = self._http.request(method, path, content=body, headers=headers)
            except _BROKEN as error:
                pause = next(pauses)
                if time.monotonic() + pause > deadline:
                    raise ServerAway(f"{self.url} does not answer ({error}); is the server running?") from error
            except httpx.TimeoutException as error:
                raise ServerAway(
                    f"{self.url}{path} took longer than the time-out; send less, or wait longer"
                ) from error
            else:
                if answer.is_success:
                    return answer
                pause = _read_pause(answer)
                if answer.status_code not in (429, 503) or time.monotonic() + pause > deadline:
                    raise _read_refusal(answer)
            time.sleep(pause)


def _to_plain(value: Any) -> Any:
    """What JSON knows for a scalar of numpy or pandas."""
    try:
        return value.item()
    except AttributeError:
        raise TypeError(f"{value!r} of type {type(value).__name__} is no value of a row") from None


def _stick(sticky_key: str | None) -> dict[str, str]:
    if sticky_key is None:
        return {}
    if not (sticky_key.isascii() and sticky_key.isprintable() and sticky_key == sticky_key.strip()):
        message = f"expected printable ASCII without outer spaces, got {sticky_key[:60]!r}; send a hash of it"
        raise Refused(422, "sticky_key", message, {"type": "string"})
    return {"x-sticky-key": sticky_key}


def _double() -> Iterator[float]:
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(LONGEST_PAUSE, 2 * pause)


def _read_pause(answer: httpx.Response) -> float:
    """Seconds that Retry-After asks for; 1 if it says nothing or names a date."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdigit() else 1.0


def _read_refusal(answer: httpx.Response) -> Refused:
    try:
        error = msgspec.json.decode(answer.content)["error"]
        return Refused(answer.status_code, error["path"], error["message"], error["expected"])
    except (msgspec.DecodeError, LookupError, TypeError):  # a proxy's answer, or BentoML's own
        return Refused(answer.status_code, "", f"{answer.status_code} {answer.text[:200]}".strip())


def _decode(answer: httpx.Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.DecodeError as error:
        raise Refused(answer.status_code, "", f"{answer.url} is no server of this tideline: {error}") from error
