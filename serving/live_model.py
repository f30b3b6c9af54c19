"""The model that is served: a verified bundle, its decoder, and the way from its predictions to an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from numpy.typing import NDArray

from serving.answers import Answers
from serving.columnar.batch import ColumnBatch
from serving.columnar.checks import ColumnTaker, Places
from serving.errors import Refusal, UnanswerableRow
from serving.low_priority import run_low_priority
from serving.schema import Row, RowDecoder
from tideline.bundle import Bundle
from tideline.column_rules import as_number, describe_schema, to_date
from tideline.contracts import Column, TidelineError
from tideline.predictor import Predictor

INLINE_ROWS = 64  # a larger request leaves the event loop, so that probes and small requests go on

_ENCODER = msgspec.json.Encoder()


class LiveModel:
    """A bundle that is ready to answer. Safe to call from several threads.

    beside: whether others answer meanwhile, and are not to notice. Raises TidelineError if the bundle is broken.
    """

    def __init__(self, bundle: Bundle, version: str, max_rows: int, beside: bool = False) -> None:
        self.bundle, self.version = bundle, version
        self.manifest = self.bundle.manifest
        self.task = self.manifest.task
        self.decoder = RowDecoder(self.manifest.columns, max_rows)
        self._taker = ColumnTaker(self.manifest.columns, max_rows)
        self.byline = {"task": self.manifest.task, "name": self.manifest.model, "version": self.version}
        self.examples = [row for row in _find_examples(self.bundle) if self._is_taken(row)][:3]
        self.predictor = run_low_priority(self._open_predictor) if beside else self._open_predictor()
        if self.examples:
            self.predict(
                self.decoder.decode(_ENCODER.encode({"rows": self.examples[:1]}))
            )  # warm: the first run is slow

    def _open_predictor(self) -> Predictor:
        return Predictor(self.bundle, threads=1)

    def _is_taken(self, example: dict[str, Any]) -> bool:
        try:
            return bool(self.decoder.decode(_ENCODER.encode({"rows": [example]})))
        except Refusal:  # a training row may break a rule that only warns
            return False

    def take_columns(self, given: Mapping[str, NDArray[Any]], places: Places) -> Sequence[Row]:
        """Columns of a request as rows that `predict` takes; see `ColumnTaker.take`. Raises Refusal."""
        batch = self._taker.take(given, places)
        return batch if len(batch) > INLINE_ROWS else self.decoder.make_rows(batch.columns)

    def predict(self, rows: Sequence[Row]) -> Answers:
        """Answers of decoded rows. Raises UnanswerableRow if the model gives no finite number for one of them."""
        columns = self._to_columns(rows)
        try:
            return Answers.of(self.predictor.predict(columns))
        except TidelineError as error:
            raise UnanswerableRow(self._find_unanswerable(rows)) from error

    def encode(self, answers: Answers, start: int, stop: int, ids: Sequence[str] | None = None) -> bytes:
        """The body of the answer to the request whose rows stand from `start` to `stop`; `ids` are its rows'."""
        body: dict[str, Any] = {"model": self.byline}
        if ids is not None:
            body["prediction_ids"] = ids
        body["predictions"] = answers.predictions[start:stop]
        levels = {level: values[start:stop] for level, values in answers.levels.items()}
        if answers.probabilities is None:
            body["intervals"] = levels
        else:
            body["probabilities"], body["sets"] = answers.probabilities[start:stop], levels
        return _ENCODER.encode(body)

    def describe(self) -> dict[str, Any]:
        """What GET /model answers."""
        manifest = self.manifest
        return {
            "task": manifest.task,
            "title": manifest.title,
            "problem": manifest.problem,
            "name": manifest.model,
            "version": self.version,
            "digest": self.bundle.digest,
            "created": manifest.created,
            "provenance": manifest.provenance,
            "columns": [
                {"name": c.name, "kind": c.kind, "required": not c.nullable, "schema": describe_schema(c)}
                for c in manifest.columns
            ],
            "target": {"name": manifest.target.name, "schema": describe_schema(manifest.target)},
            "classes": manifest.classes,
            "intervals": [i.level for i in manifest.intervals],
            "metrics": manifest.metrics,
            "parity": manifest.parity,
            "hashes": manifest.hashes,
            "versions": manifest.versions,
        }

    def _to_columns(self, rows: Sequence[Row]) -> Mapping[str, NDArray[Any]]:
        return rows.columns if isinstance(rows, ColumnBatch) else self.decoder.to_columns(rows)

    def _find_unanswerable(self, rows: Sequence[Row]) -> int:
        low, high = 0, len(rows)
        while high - low > 1:  # the first bad row lies in [low, high)
            middle = (low + high) // 2
            try:
                self.predictor.predict(self._to_columns(rows[low:middle]))
                low = middle
            except TidelineError:
                high = middle
        return low


def _find_examples(bundle: Bundle) -> list[dict[str, Any]]:
    """Real training rows of the reference sketch, as a client would send them."""
    sample = bundle.read_reference()["sample"]
    rows = range(min((len(sample[c.name]) for c in bundle.manifest.columns), default=0))
    return [{c.name: _to_plain(c, sample[c.name][i]) for c in bundle.manifest.columns} for i in rows[:20]]


def _to_plain(column: Column, value: Any) -> Any:
    if column.kind == "date" and value is not None:
        return to_date(value).isoformat()
    return as_number(value) if isinstance(value, float) else value
