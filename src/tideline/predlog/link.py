"""The writer's connection: it is there, or a thread seeks it with growing pauses."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from tideline.contracts import TidelineError
from tideline.predlog.database import Database
from tideline.predlog.insert import Appender
from tideline.predlog.records import Row, StoreUnavailable

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds

logger = logging.getLogger("tideline.predlog")


class Link:
    """A connection that comes back. For one thread; `wake` is called from another when a lost store was found again."""

    def __init__(self, database: Database, wake: Callable[[], None]) -> None:
        self._database, self._wake = database, wake
        self.appender: Appender | None = None
        self.error = "not connected yet"
        self.connections = 0  # how many there were so far
        self._found: Appender | None = None
        self._pause, self._lost_at = FIRST_PAUSE, time.monotonic()
        self._closing = threading.Event()
        self._seeker: threading.Thread | None = None

    def open(self) -> None:
        """Connect, or begin to seek."""
        try:
            self._adopt(Appender(self._database))
        except TidelineError as error:
            self._lose(error)

    def is_up(self) -> bool:
        """True if the store is connected, or was found again just now."""
        if self.appender is None and self._found is not None:
            found, self._found = self._found, None
            self._adopt(found)
            logger.warning("%s is back after %.1f s", self._database.place, time.monotonic() - self._lost_at)
        return self.appender is not None

    def append(self, rows: Sequence[Row]) -> None:
        """Insert rows durably. Raises RecordRefused, or StoreUnavailable, at once while the store is being sought."""
        if not self.is_up():
            raise StoreUnavailable(
                f"{self.error} (since {time.monotonic() - self._lost_at:.1f} s, tried again by itself)"
            )
        assert self.appender is not None
        try:
            self.appender.append(rows)
        except StoreUnavailable as error:
            # A server that was restarted has closed this connection and takes another one at once.
            if self._database.dialect == "sqlite" or not self._renew():
                self._lose(error)
                raise
            self._append_again(rows)
        self._pause = FIRST_PAUSE

    def lose(self, error: TidelineError) -> None:
        """The connection is of no use: begin to seek another."""
        if self.appender is not None:
            self._lose(error)

    def close(self) -> None:
        """Stop seeking, close the connection."""
        self._closing.set()
        if self._seeker is not None:
            self._seeker.join()
        for appender in (self.appender, self._found):
            if appender is not None:
                appender.close()
        self.appender = self._found = None

    def _append_again(self, rows: Sequence[Row]) -> None:
        assert self.appender is not None
        try:
            self.appender.append(rows)
        except StoreUnavailable as error:
            self._lose(error)
            raise

    def _adopt(self, appender: Appender) -> None:
        self.appender, self.error = appender, ""
        self.connections += 1

    def _renew(self) -> bool:
        assert self.appender is not None
        self.appender.close()
        try:
            self.appender = Appender(self._database)
        except TidelineError:
            return False
        return True

    def _lose(self, error: TidelineError) -> None:
        if self.appender is not None:
            self.appender.close()
            self.appender = None
            self._lost_at = time.monotonic()
        self.error = str(error)
        logger.warning("%s; seeking it again", error)
        self._seeker = threading.Thread(target=self._seek, name="predlog-link", daemon=True)
        self._seeker.start()

    def _seek(self) -> None:
        while not self._closing.wait(self._pause):
            # Grows until a group was written: a full disk can be opened as well.
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            try:
                appender = Appender(self._database)
            except TidelineError as error:
                self.error = str(error)
                continue
            try:
                appender.check_lock()
            except TidelineError as error:
                self.error = str(error)
                appender.close()
                continue
            self._found = appender
            self._wake()
            return
