"""Ends what waits for a PostgreSQL that is there but does not answer: the driver itself would wait for ever."""

from __future__ import annotations

import logging
import threading
import time
from typing import Self

from tideline.predlog.database import Database

STUCK_SECONDS = 6.0  # more than a lock may take (database.py), less than a request may

logger = logging.getLogger("tideline.predlog")


class Watchdog:
    """`with` it around what one thread asks of the store; beyond `STUCK_SECONDS` its connections are cut. Does nothing
    for SQLite, which waits for no one but the disk."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._since = 0.0
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch."""
        if self._database.dialect == "postgresql":
            self._thread = threading.Thread(target=self._run, name="predlog-watchdog", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        self._since = time.monotonic()
        return self

    def __exit__(self, *exception: object) -> None:
        self._since = 0.0

    def _run(self) -> None:
        while not self._closing.wait(STUCK_SECONDS / 10):
            since = self._since
            if since and time.monotonic() - since > STUCK_SECONDS:
                logger.warning("%s has not answered for %.0f s; cut off", self._database.place, STUCK_SECONDS)
                self._database.cut_off()
                self._since = time.monotonic()  # the next connection gets its time, too
