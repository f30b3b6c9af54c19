"""Micro-batching without waiting: all requests that arrive in one turn of the event loop share one session run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from serving.champion import Answers
from serving.errors import Refusal
from serving.schema import Row

INLINE_ROWS = 64  # a larger request leaves the event loop, so that probes and small requests go on
MERGED_ROWS = 256


@dataclass(frozen=True, slots=True)
class Share:
    """One request's part of a batch: its rows' answers stand from `start` to `stop`."""

    answers: Answers
    start: int
    stop: int


class Batcher:
    """Hands rows to `predict`, one batch a turn of the event loop, large requests one after the other in a thread.

    `observe` is told the number of rows of each batch. At most `max_pending` rows wait for the thread; a request beyond
    that is refused with 429.
    """

    def __init__(
        self, predict: Callable[[Sequence[Row]], Answers], observe: Callable[[int], None], max_pending: int
    ) -> None:
        self._predict, self._observe, self.max_pending = predict, observe, max_pending
        self._waiting: list[tuple[Sequence[Row], asyncio.Future[Share]]] = []
        self._pending = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bulk")

    async def submit(self, rows: Sequence[Row]) -> Share:
        """Answers of one request's rows. Raises UnanswerableRow (counted within these rows) or Refusal."""
        if len(rows) > INLINE_ROWS:
            return await self._run_bulk(rows)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Share] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush, loop)
        self._waiting.append((rows, future))
        return await future

    def close(self) -> None:
        """Wait for the thread to finish what it has begun."""
        self._thread.shutdown()

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        batch: list[tuple[Sequence[Row], asyncio.Future[Share]]] = []
        merged = 0
        while self._waiting and (not batch or merged + len(self._waiting[0][0]) <= MERGED_ROWS):
            batch.append(self._waiting.pop(0))
            merged += len(batch[-1][0])
        if self._waiting:
            loop.call_soon(self._flush, loop)
        rows = batch[0][0] if len(batch) == 1 else [row for part, _ in batch for row in part]
        try:
            answers = self._predict(rows)
        except Exception as error:
            self._isolate(batch, error)
            return
        self._observe(len(rows))
        start = 0
        for part, future in batch:
            stop = start + len(part)
            if not future.done():  # a client that has gone cancels its request
                future.set_result(Share(answers, start, stop))
            start = stop

    def _isolate(self, batch: list[tuple[Sequence[Row], asyncio.Future[Share]]], error: Exception) -> None:
        """One request's trouble is not its neighbours': each is tried alone, and gets its own answer or error."""
        for rows, future in batch:
            if future.done():
                continue
            if len(batch) == 1:
                future.set_exception(error)
                continue
            try:
                answers = self._predict(rows)
            except Exception as own:
                future.set_exception(own)
            else:
                self._observe(len(rows))
                future.set_result(Share(answers, 0, len(rows)))

    async def _run_bulk(self, rows: Sequence[Row]) -> Share:
        if self._pending and self._pending + len(rows) > self.max_pending:
            message = f"{self._pending} rows are waiting already, at most {self.max_pending} may; try again later"
            raise Refusal(429, "rows", message, {"pending": self.max_pending}, {"retry-after": "1"})
        self._pending += len(rows)
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._predict, rows)
        work.add_done_callback(lambda _: self._release(len(rows)))
        answers = await work
        self._observe(len(rows))
        return Share(answers, 0, len(rows))

    def _release(self, rows: int) -> None:
        self._pending -= rows
