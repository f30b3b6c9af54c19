"""What the server tells the prediction log: one record a row, handed over a batch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import repeat
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
    Writer,
    WriterState,
    journal_folder,
    mint_ids,
    store_url,
)

if TYPE_CHECKING:
    from serving.answers import Answers
    from serving.batcher import Job, Turn

CHUNK_ROWS = 1_000  # of a shadow's rows in one submission: answers get their turn in between


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
            own, requests = ids[start:stop], repeat(ids[start])
            records += _make_records(job.turn, job.route, latency, job.rows, answers, start, own, requests, now.time)
            start = stop
        return ids, self._writer.submit_async(records)

    def begin_bulk(self, job: Job) -> BulkLog:
        """Log a large request in several submissions, one after the other."""
        return BulkLog(self._writer, job)

    def write_beside(
        self, turn: Turn, rows: Sequence[object], answers: Answers, answered: Sequence[str], route: str, latency: int
    ) -> None:
        """Log a shadow's rows, each beside the prediction (id) that was `answered`; returns when they are durable.

        latency: µs. Raises StoreUnavailable or RecordRefused. Not for the event loop's thread.
        """
        ids, now = mint_ids(len(rows)), _Now()
        records = _make_records(turn, route, latency, rows, answers, 0, ids, answered, now.time)
        for start in range(0, len(records), CHUNK_ROWS):
            self._writer.submit(records[start : start + CHUNK_ROWS]).result()

    async def take_labels(self, labels: Sequence[Label], source: str) -> list[LabelAnswer]:
        """Store labels, behind the predictions that were handed over before; `source` says whose they are.

        Raises StoreUnavailable.
        """
        return await self._writer.submit_labels_async(labels, source)


class BulkLog:
    """Logs the parts of one large request; `ids` are those of all its rows. Of its parts, one is being written."""

    def __init__(self, writer: Writer, job: Job) -> None:
        self.ids = mint_ids(len(job.rows))
        self._writer, self._job, self._start = writer, job, 0
        self._writing: asyncio.Future[Receipt] | None = None

    async def add(self, rows: Sequence[object], answers: Answers) -> None:
        """Hand over the next rows, once those before are durable. Raises StoreUnavailable or RecordRefused."""
        own, now = self.ids[self._start : self._start + len(rows)], _Now()
        job, latency, requests = self._job, now.latency(self._job.arrived), repeat(self.ids[0])
        records = _make_records(job.turn, job.route, latency, rows, answers, 0, own, requests, now.time)
        self._start += len(rows)
        await self.finish()
        self._writing = self._writer.submit_async(records)

    async def finish(self) -> None:
        """Wait until what was handed over is durable. Raises StoreUnavailable or RecordRefused, once."""
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing


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
    requests: Iterable[str],
    time: int,
) -> list[Record]:
    """Records of `rows`, whose answers stand from `start` on; `requests` has at least as many ids of requests."""
    task, version = turn.model.task, turn.model.version
    role, key = turn.role, turn.key
    assert role is not None  # the server's own questions are not logged
    levels = list(answers.levels.items())
    shares = answers.probabilities
    return [
        Record(
            name,
            request,
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
        for i, (name, row, request) in enumerate(zip(ids, rows, requests, strict=False), start)
    ]
