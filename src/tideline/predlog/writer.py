"""The writer: one thread that commits everything that waits in one transaction, then tells everybody at once.

What was acknowledged is in the store, or in the journal if there is one and the store is away. Nothing else is.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self, cast

from tideline.contracts import TidelineError
from tideline.predlog.checkpoint import Checkpointer
from tideline.predlog.database import Database
from tideline.predlog.journal import Journal
from tideline.predlog.labels import record_labels
from tideline.predlog.link import Link
from tideline.predlog.records import (
    Label,
    LabelAnswer,
    Receipt,
    Record,
    RecordRefused,
    Row,
    StoreUnavailable,
    pack_rows,
    to_rows,
)
from tideline.predlog.replay import SCAN_SECONDS, Replay
from tideline.predlog.waiting import Item, Outcome, WaitingRoom
from tideline.predlog.watchdog import Watchdog

GROUP_ROWS = 5_000  # a group that has reached that takes no further submission
CAPACITY = 20_000
IDLE_SECONDS = 1.0

logger = logging.getLogger("tideline.predlog")


@dataclass(frozen=True)
class WriterState:
    """How a writer does. All counts are records since its start; `error` says why the store is away."""

    connected: bool
    error: str
    pending: int
    groups: int
    stored: int
    journalled: int
    replayed: int
    failed: int


class Writer:
    """Writes predictions and labels from a thread. Use `start` and `close`, or `with`.

    At most `capacity` records may wait. With a `journal` (a folder), predictions are acknowledged while the store is
    away, and written to it when it is back; without one they fail with StoreUnavailable. Labels always need the store.
    """

    def __init__(self, database: Database, journal: Path | Journal | None = None, capacity: int = CAPACITY) -> None:
        self.database = database
        self._journal = Journal(journal) if isinstance(journal, Path) else journal
        self._replay = None if self._journal is None else Replay(self._journal)
        self._room = WaitingRoom(capacity)
        self._link = Link(database, self._room.wake)
        self._checkpointer, self._watchdog = Checkpointer(database), Watchdog(database)
        self._thread = threading.Thread(target=self._run, name="predlog-writer", daemon=True)
        self._connections = 0
        self._groups = self._stored = self._journalled = self._failed = 0

    def start(self) -> Self:
        """Begin. A store that is away is no error: it is sought until it is there."""
        self._checkpointer.start()
        self._watchdog.start()
        self._thread.start()
        return self

    def submit(self, records: Sequence[Record]) -> Future[Receipt]:
        """Hand records over; the future completes when they are durable. One transaction takes all of them or none.

        Raises QueueFull, or StoreUnavailable after `close`. The future fails with StoreUnavailable, or with
        RecordRefused if one of these records can never be stored.
        """
        future: Future[Receipt] = Future()
        self._room.put(Item(records, False, "", future, None))
        return future

    def submit_async(self, records: Sequence[Record]) -> asyncio.Future[Receipt]:
        """The same for the running event loop: futures of one group complete in one turn of it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Receipt] = loop.create_future()
        self._room.put(Item(records, False, "", future, loop))
        return future

    def submit_labels(self, labels: Sequence[Label], source: str = "") -> Future[list[LabelAnswer]]:
        """Hand labels over (see `record_labels`), behind the predictions that were submitted before them."""
        future: Future[list[LabelAnswer]] = Future()
        self._room.put(Item(labels, True, source, future, None))
        return future

    def submit_labels_async(self, labels: Sequence[Label], source: str = "") -> asyncio.Future[list[LabelAnswer]]:
        """The same for the running event loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[LabelAnswer]] = loop.create_future()
        self._room.put(Item(labels, True, source, future, loop))
        return future

    @property
    def state(self) -> WriterState:
        """A snapshot; costs nothing."""
        replayed = 0 if self._replay is None else self._replay.rows
        error = self._link.error
        return WriterState(
            not error, error, self._room.pending, self._groups, self._stored, self._journalled, replayed, self._failed
        )

    def close(self) -> None:
        """Write what waits, then stop."""
        self._room.close()
        if self._thread.is_alive():
            self._thread.join()
        self._checkpointer.close()
        self._watchdog.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self) -> None:
        items: list[Item] = []
        try:
            self._link.open()
            while not self._room.is_over:
                with self._watchdog:
                    has_more = self._tend()
                items = self._room.take(0.0 if has_more else IDLE_SECONDS, GROUP_ROWS)
                with self._watchdog:
                    self._serve(items)
        except BaseException as error:  # nobody may wait for a thread that is gone
            logger.exception("the writer of %s has stopped", self.database.place)
            self._fail_all(items, error)
        finally:
            if self._replay is not None:
                self._replay.interrupt()
                self._replay.journal.close()
            self._link.close()

    def _serve(self, items: list[Item]) -> None:
        group: list[tuple[Item, list[Row]]] = []
        outcomes: list[Outcome] = []
        for item in items:
            if not item.is_labels:
                try:
                    group.append((item, to_rows(cast(Sequence[Record], item.content))))
                except RecordRefused as error:
                    outcomes.append(Outcome(item, error=error))
        if group:
            outcomes += self._write(group)
        self._failed += sum(len(outcome.item.content) for outcome in outcomes if outcome.error)
        self._room.settle(outcomes)
        for item in items:
            if item.is_labels:
                self._room.settle([self._label(item)])

    def _write(self, group: list[tuple[Item, list[Row]]]) -> list[Outcome]:
        rows = group[0][1] if len(group) == 1 else [row for _, part in group for row in part]
        try:
            place = self._store(rows)
        except RecordRefused as error:
            if len(group) == 1:
                return [Outcome(group[0][0], error=error)]
            return [outcome for single in group for outcome in self._write([single])]  # one's fault is not the others'
        except StoreUnavailable as error:
            return [Outcome(item, error=StoreUnavailable(*error.args)) for item, _ in group]
        return [Outcome(item, Receipt(len(part), place)) for item, part in group]

    def _store(self, rows: list[Row]) -> Literal["store", "journal"]:
        self._groups += 1
        try:
            self._link.append(rows)
        except StoreUnavailable as error:
            if self._journal is None:
                raise
            try:
                self._journal.append(pack_rows(rows))
            except StoreUnavailable as second:
                raise StoreUnavailable(f"{error}; {second}") from second
            self._journalled += len(rows)
            return "journal"
        self._stored += len(rows)
        self._checkpointer.touch()
        return "store"

    def _label(self, item: Item) -> Outcome:
        labels = cast(Sequence[Label], item.content)
        try:
            if not self._link.is_up():
                raise StoreUnavailable(self._link.error)
            answers = record_labels(self.database, labels, item.source)
        except TidelineError as error:
            return Outcome(item, error=error)
        self._checkpointer.touch()
        return Outcome(item, [self._mention_journal(a) if a.state == "unknown" else a for a in answers])

    def _mention_journal(self, answer: LabelAnswer) -> LabelAnswer:
        waiting = 0 if self._journal is None else len(self._journal.list_segments())
        if not waiting:
            return answer
        return replace(answer, reason=f"{answer.reason}, or among those that wait in the journal: send it again later")

    def _tend(self) -> bool:
        """Take a connection that was found again, replay a step; True if there is more to do at once."""
        if not self._link.is_up() or self._replay is None:
            return False
        if self._link.connections != self._connections:
            self._connections = self._link.connections
            self._replay.interrupt()  # what was journalled meanwhile is looked for now
        assert self._link.appender is not None
        try:
            has_more = self._replay.step(self._link.appender)
        except StoreUnavailable as error:
            self._link.lose(error)
            return False
        except OSError as error:
            logger.error("journal %s cannot be read: %s; it is tried again", self._replay.journal.folder, error)
            self._replay.interrupt(SCAN_SECONDS)
            return False
        if has_more:
            self._checkpointer.touch()
        return has_more

    def _fail_all(self, items: list[Item], error: BaseException) -> None:
        reason = (
            f"the writer of {self.database.place} has stopped: {error}; restart the server, its log has the details"
        )
        self._room.close()
        while items or not self._room.is_over:
            self._room.settle(Outcome(item, error=StoreUnavailable(reason)) for item in items if not item.future.done())
            items = self._room.take(0.0, GROUP_ROWS)
