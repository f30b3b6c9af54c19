"""What the server tells the prediction log: one record a row, handed over a batch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter, time_ns
from typing import TYPE_CHECKING

from serving.errors import Refusal
from serving.settings import Settings
from tideline.contracts import TidelineError
from tideline.predlog import (
    Label,
    LabelAnswer,
    QueueFull,
    Receipt,
    Record,
    RecordRefused,
    Store,
    WriterState,
    journal_folder,
    mint_ids,
    store_url,
)

if TYPE_CHECKING:
    from serving.batcher import Job, Turn
    from serving.champion import Answers

CHUNK_ROWS = 1_000  # of a large request in one submission: smaller ones get their turn in between


def find_store(settings: Settings) -> Store:
    """The store that the settings name; nothing is opened yet. Raises TidelineError for a URL that is none."""
    return Store(settings.store or store_url(settings.home, {}))


class PredictionLog:
    """The way into the store. Use `open` before the first record, `close` after the last answer."""

    def __init__(self, settings: Settings) -> None:
        folder = (settings.journal_folder or journal_folder(settings.home, {})) if settings.journal else None
        self.has_journal = folder is not None
        self._store = find_store(settings)
        self._writer = self._store.writer(folder)

    def open(self) -> None:
        """Begin to write. A store that is away is sought until it is there."""
        self._writer.start()

    def close(self) -> None:
        """Write what waits, then stop."""
        self._writer.close()
        self._store.close()

    @property
    def state(self) -> WriterState:
        """How the writer does."""
        return self._writer.state

    @property
    def takes_records(self) -> bool:
        """False while each prediction would be refused: the store is away, and there is no journal."""
        state = self._writer.state
        return state.running and (self.has_journal or state.connected)

    def write(self, batch: Sequence[Job], answers: Answers) -> tuple[list[str], asyncio.Future[Receipt]]:
        """Hand over a batch; its rows' ids, and what completes when they are durable.

        Raises StoreUnavailable if too much waits. The future fails with StoreUnavailable or RecordRefused.
        """
        ids = mint_ids(len(answers.predictions))
        records: list[Record] = []
        start, now = 0, _Now()
        for job in batch:
            stop = start + len(job.rows)
            latency = now.latency(job.arrived)
            records += _make_records(
                job.turn, job.route, latency, job.rows, answers, start, ids[start:stop], ids[start], now.time
            )
            start = stop
        return ids, self._writer.submit_async(records)

    async def write_bulk(self, job: Job, answers: Answers) -> list[str]:
        """Log a large request in several submissions, one after the other; its rows' ids.

        Raises StoreUnavailable; then some of its rows may be in the log.
        """
        ids, now = mint_ids(len(answers.predictions)), _Now()
        latency = now.latency(job.arrived)
        for start in range(0, len(ids), CHUNK_ROWS):
            stop = start + CHUNK_ROWS
            part = job.rows[start:stop]
            records = _make_records(
                job.turn, job.route, latency, part, answers, start, ids[start:stop], ids[0], now.time
            )
            await self._writer.submit_async(records)
        return ids

    def write_beside(
        self, turn: Turn, rows: Sequence[object], answers: Answers, answered: Sequence[str], route: str, latency: int
    ) -> None:
        """Log a shadow's rows, each beside the prediction (id) that was `answered`; returns when they are durable.

        latency: µs. Raises StoreUnavailable or RecordRefused. Not for the event loop's thread.
        """
        now = _Now()
        records: list[Record] = []
        for i, name in enumerate(mint_ids(len(rows))):
            records += _make_records(turn, route, latency, rows[i : i + 1], answers, i, [name], answered[i], now.time)
        for start in range(0, len(records), CHUNK_ROWS):
            self._writer.submit(records[start : start + CHUNK_ROWS]).result()

    async def take_labels(self, labels: Sequence[Label], source: str) -> list[LabelAnswer]:
        """Store labels, behind the predictions that were handed over before; `source` says whose they are.

        Raises StoreUnavailable.
        """
        return await self._writer.submit_labels_async(labels, source)


def refuse_unlogged(error: TidelineError) -> Refusal:
    """Refusal of what the log did not take. The reason is for the server's own log: it names places."""
    if isinstance(error, RecordRefused):
        return Refusal(422, "rows", "the prediction log cannot hold these values")
    reason = "too much waits for the prediction log" if isinstance(error, QueueFull) else "the prediction log is away"
    message = f"{reason}, and nothing is answered that is not in it; send the request again"
    return Refusal(503, "", message, None, {"retry-after": "1"})


class _Now:
    """The moment of prediction on both clocks."""

    __slots__ = ("ticks", "time")

    def __init__(self) -> None:
        self.ticks, self.time = perf_counter(), time_ns() // 1000

    def latency(self, arrived: float) -> int:
        """µs since a request arrived."""
        return int((self.ticks - arrived) * 1e6)


def _make_records(
    turn: Turn,
    route: str,
    latency: int,
    rows: Sequence[object],
    answers: Answers,
    start: int,
    ids: Sequence[str],
    request_id: str,
    time: int,
) -> list[Record]:
    """Records of `rows`, whose answers stand from `start` on."""
    task, version = turn.model.task, turn.model.version
    role, key = turn.role, turn.key
    assert role is not None  # the server's own questions are not logged
    levels = list(answers.levels.items())
    shares = answers.probabilities
    return [
        Record(
            name,
            request_id,
            time,
            task,
            version,
            role,
            row,
            None if shares else answers.predictions[i],
            answers.predictions[i] if shares else None,
            shares[i] if shares else None,
            {level: values[i] for level, values in levels},
            latency,
            key,
            route,
        )
        for i, (name, row) in enumerate(zip(ids, rows, strict=True), start)
    ]
