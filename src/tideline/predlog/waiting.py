"""What waits for the writer, bounded, and how those who wait are told: one call into an event loop a group."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tideline.predlog.records import Label, QueueFull, Record, StoreUnavailable


@dataclass(slots=True, eq=False)
class Item:
    """One submission: records, or labels with their source. `loop` is that of an asyncio future."""

    content: Sequence[Record] | Sequence[Label]
    is_labels: bool
    source: str
    future: Any
    loop: asyncio.AbstractEventLoop | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a submission comes to: a result, or an error."""

    item: Item
    result: Any = None
    error: Exception | None = None


class WaitingRoom:
    """A queue that takes at most `capacity` records and labels; a single submission may be larger if nothing waits."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.pending = 0  # records and labels that were neither acknowledged nor failed yet
        self.is_over = False  # closed, and all taken out
        self._lock, self._closed = threading.Lock(), False
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()

    def put(self, item: Item) -> None:
        """Raises QueueFull, or StoreUnavailable after `close`."""
        size = len(item.content)
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the prediction log is closed: the server is about to stop; send it to another")
            if self.pending and self.pending + size > self.capacity:
                raise QueueFull(
                    f"{self.pending} records wait for the prediction store, {self.capacity} may; try again later"
                )
            self.pending += size
            self._queue.put(item)

    def wake(self) -> None:
        """Let `take` return."""
        self._queue.put(None)

    def take(self, timeout: float, limit: int) -> list[Item]:
        """All that waits, up to about `limit` records; empty after `timeout` seconds or a `wake`."""
        items: list[Item] = []
        size = 0
        try:
            item = self._queue.get(timeout=timeout) if timeout > 0 else self._queue.get_nowait()
            while item is not None:
                items.append(item)
                size += len(item.content)
                if size >= limit:
                    return items
                item = self._queue.get_nowait()
        except queue.Empty:
            pass
        self.is_over = self._closed and self._queue.empty()
        return items

    def close(self) -> None:
        """Take no more; what waits is still handed out."""
        with self._lock:
            self._closed = True
        self.wake()

    def settle(self, outcomes: Iterable[Outcome]) -> None:
        """Tell those who wait."""
        by_loop: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
        size = 0
        for outcome in outcomes:
            size += len(outcome.item.content)
            if outcome.item.loop is None:
                if outcome.item.future.set_running_or_notify_cancel():
                    _tell(outcome)
            else:
                by_loop.setdefault(outcome.item.loop, []).append(outcome)
        with self._lock:
            self.pending -= size
        for loop, told in by_loop.items():
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_tell_all, told)


def _tell_all(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        if not outcome.item.future.done():  # a request that was given up cancels its future
            _tell(outcome)


def _tell(outcome: Outcome) -> None:
    future: Future[Any] | asyncio.Future[Any] = outcome.item.future
    if outcome.error is None:
        future.set_result(outcome.result)
    else:
        future.set_exception(outcome.error)
