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
    """`with` it around what a thread asks of the store; beyond `seconds` (by default `STUCK_SECONDS`) all connections
    are cut. For several threads, each of which asks one thing at a time. Does nothing for SQLite, which waits for no
    one but the disk."""

    def __init__(self, database: Database, seconds: float | None = None) -> None:
        self._database = database
        self._seconds = STUCK_SECONDS if seconds is None else seconds
        self._since: dict[int, float] = {}  # thread -> when it began to ask
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch."""
        if self._database.dialect == "postgresql":
            self._thread = threading.Thread(target=self._run, name="predlog-watchdog", daemon=True)
            self._thread.start()

    def hurry(self, seconds: float) -> None:
        """From now on, wait no longer than that."""
        self._seconds = min(self._seconds, seconds)

    def close(self) -> None:
        """Stop watching."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        with self._lock:
            self._since[threading.get_ident()] = time.monotonic()
        return self

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            del self._since[threading.get_ident()]

    def _run(self) -> None:
        while not self._closing.wait(min(self._seconds, STUCK_SECONDS) / 10):
            seconds, now = self._seconds, time.monotonic()
            with self._lock:
                stuck = [thread for thread, since in self._since.items() if now - since > seconds]
                self._since.update(dict.fromkeys(stuck, now))  # the next connection gets its time, too
            if stuck:
                logger.warning("%s has not answered for %.0f s; cut off", self._database.place, seconds)
                self._database.cut_off()
