"""Micro-batching without a timer: all requests that arrive in one turn of the event loop share one session run and one
submission to the prediction log. Their answers are released when the log has them; what arrives meanwhile is the next
batch, so that batches grow with the load and nobody waits while nothing is under way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from serving.answers import Answers
from serving.bulk import answer_parts
from serving.errors import Refusal
from serving.live_model import INLINE_ROWS
from serving.schema import Row
from tideline.predlog import Receipt, RecordRefused, Role

if TYPE_CHECKING:
    from serving.log import PredictionLog

MERGED_ROWS = 256

logger = logging.getLogger("bentoml.tideline")
T = TypeVar("T")


class Model(Protocol):
    """One version of one task's model."""

    task: str
    version: str

    def predict(self, rows: Sequence[Row]) -> Answers:
        """Answers of decoded rows. Raises UnanswerableRow."""


class Turn(msgspec.Struct, frozen=True):
    """Who answers a request: a model in its role (None: the server asks itself), and the caller's sticky key."""

    model: Model
    role: Role | None = "champion"
    key: str | None = None


class Job(msgspec.Struct, eq=False):
    """What one request asks of which model; `arrived` on perf_counter's clock."""

    turn: Turn
    rows: Sequence[Row]
    future: asyncio.Future[Share]
    route: str
    arrived: float


class Share(msgspec.Struct, frozen=True):
    """One request's part of a batch: its rows' answers stand from `start` to `stop`. No log, no ids."""

    answers: Answers
    start: int
    stop: int
    ids: list[str] | None


class Batcher:
    """Hands rows to their model, one batch a turn of the event loop, large requests part by part in a thread.

    A batch holds one model. `observe` is told the model and the number of rows of each batch. At most `max_pending`
    rows of large requests wait, and as many of small ones; a request beyond that is refused with 429.
    """

    def __init__(self, log: PredictionLog | None, observe: Callable[[Model, int], None], max_pending: int) -> None:
        self._log, self._tell, self.max_pending = log, observe, max_pending
        self._waiting: dict[Job, None] = {}  # in their order; one that is given up leaves it
        self._writing = 0  # batches that the log has not acknowledged yet
        self._pending = 0  # rows of large requests
        self._queued = 0  # rows of small ones
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bulk")

    async def submit(self, turn: Turn, rows: Sequence[Row], route: str = "", arrived: float | None = None) -> Share:
        """Answers of one request's rows, which the log has. Raises UnanswerableRow (counted within these rows),
        Refusal, StoreUnavailable, or RecordRefused."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Share] = loop.create_future()
        job = Job(turn, rows, future, route, perf_counter() if arrived is None else arrived)
        if len(rows) > INLINE_ROWS:
            # What has begun goes on if the client leaves: the thread is busy with it, and its rows count as pending.
            return await asyncio.shield(self._run_bulk(job))
        self._check_room(self._queued, len(rows))
        self._queued += len(rows)
        if not self._waiting and not self._writing:
            loop.call_soon(self._flush)
        self._waiting[job] = None
        try:
            return await future
        except asyncio.CancelledError:  # too late, or the client has gone: nobody is kept out by rows that nobody wants
            if job in self._waiting:
                del self._waiting[job]
                self._queued -= len(rows)
            raise

    async def run_in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """What `work` returns, called in the thread of large requests."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def close(self) -> None:
        """Wait for the thread to finish what it has begun."""
        self._thread.shutdown()

    def _flush(self) -> None:
        if self._waiting and not self._writing:
            for batch in self._take_batches():
                try:
                    self._answer(batch)
                except Exception as error:  # whatever fails here, nobody may wait for ever
                    _fail(batch, error)
            if self._waiting and not self._writing:
                asyncio.get_running_loop().call_soon(self._flush)

    def _answer(self, batch: list[Job]) -> None:
        model = batch[0].turn.model
        try:
            rows = batch[0].rows if len(batch) == 1 else [row for job in batch for row in job.rows]
            answers = model.predict(rows)
        except Exception as error:
            self._isolate(batch, error)
            return
        self._observe(model, len(rows))
        self._finish(batch, answers)

    def _take_batches(self) -> list[list[Job]]:
        """What waits, one batch a model, the smallest first: a canary that gets few requests does not wait behind the
        champion's many, which would look as if it were slow, and they hardly wait for it."""
        batches: dict[int, list[Job]] = {}
        sizes: dict[int, int] = {}
        left: dict[Job, None] = {}
        for job in self._waiting:
            if job.future.done():  # given up a moment ago
                continue
            model, rows = id(job.turn.model), len(job.rows)
            size = sizes.get(model, 0)
            if size and size + rows > MERGED_ROWS:
                sizes[model] = MERGED_ROWS  # full: those behind keep their order
                left[job] = None
                continue
            sizes[model] = size + rows
            batches.setdefault(model, []).append(job)
        self._waiting = left
        self._queued = sum(len(job.rows) for job in left)
        if len(batches) == 1:
            return list(batches.values())
        return [batches[model] for model in sorted(batches, key=sizes.__getitem__)]

    def _isolate(self, batch: list[Job], error: Exception) -> None:
        """One request's trouble is not its neighbours': each is tried alone, and gets its own answer or error."""
        if len(batch) == 1:
            _fail(batch, error)
            return
        for job in batch:
            try:
                answers = job.turn.model.predict(job.rows)
            except Exception as own:
                _fail([job], own)
            else:
                self._observe(job.turn.model, len(job.rows))
                self._finish([job], answers)

    def _observe(self, model: Model, rows: int) -> None:
        try:
            self._tell(model, rows)
        except Exception:
            logger.exception("a batch was not counted")

    def _finish(self, batch: list[Job], answers: Answers) -> None:
        if self._log is None:
            _release(batch, answers, None)
            return
        try:
            ids, written = self._log.write(batch, answers)
        except Exception as error:  # whatever fails here, nobody may wait for ever
            _fail(batch, error)
        else:
            self._writing += 1
            written.add_done_callback(partial(self._acknowledge, batch, answers, ids))

    def _acknowledge(
        self, batch: list[Job], answers: Answers, ids: list[str], written: asyncio.Future[Receipt]
    ) -> None:
        self._writing -= 1
        try:
            self._flush()  # first, so that the writer has the next batch while these are being answered
        finally:
            error = written.exception()
            if error is None:
                _release(batch, answers, ids)
            elif isinstance(error, RecordRefused) and len(batch) > 1:
                start = 0
                for job in batch:
                    self._finish([job], answers.cut(start, start + len(job.rows)))
                    start += len(job.rows)
            else:
                _fail(batch, error)

    def _run_bulk(self, job: Job) -> asyncio.Task[Share]:
        self._check_room(self._pending, len(job.rows))
        self._pending += len(job.rows)
        return asyncio.ensure_future(self._answer_bulk(job))

    def _check_room(self, waiting: int, more: int) -> None:
        if waiting and waiting + more > self.max_pending:
            message = f"{waiting} rows are waiting already, at most {self.max_pending} may; try again later"
            raise Refusal(429, "rows", message, {"pending": self.max_pending}, {"retry-after": "1"})

    async def _answer_bulk(self, job: Job) -> Share:
        size = len(job.rows)
        try:
            answers, ids = await answer_parts(job, self._thread, self._log, self._observe)
            return Share(answers, 0, size, ids)
        finally:
            self._pending -= size


def _release(batch: Sequence[Job], answers: Answers, ids: list[str] | None) -> None:
    start = 0
    for job in batch:
        stop = start + len(job.rows)
        if not job.future.done():  # a client that has gone cancels its request
            job.future.set_result(Share(answers, start, stop, None if ids is None else ids[start:stop]))
        start = stop


def _fail(batch: Sequence[Job], error: BaseException) -> None:
    for job in batch:
        if not job.future.done():
            job.future.set_exception(error)
