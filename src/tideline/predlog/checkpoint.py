"""SQLite's WAL, copied back into the database file by a thread of its own: who commits does not wait for the disk."""

from __future__ import annotations

import logging
import sqlite3
import threading
from typing import Any

from tideline.contracts import TidelineError
from tideline.predlog.database import Database

EVERY_SECONDS = 0.5
LARGE_PAGES = 8_192  # 32 MiB of WAL: then writers wait for a moment, so that it can begin anew
PASSES = 3  # each copies what was committed during the one before it, so that this moment is short
_PATIENCE_MS = 50

logger = logging.getLogger("tideline.predlog")


class Checkpointer:
    """Copies twice a second what was committed since `touch` was called last. Does nothing for PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._closing, self._touched = threading.Event(), threading.Event()
        self._connection: Any = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; from now on no commit of this process copies."""
        if self._database.dialect == "sqlite":
            self._database.stop_checkpoints()
            self._thread = threading.Thread(target=self._run, name="predlog-checkpoint", daemon=True)
            self._thread.start()

    def touch(self) -> None:
        """Something was committed."""
        self._touched.set()

    def close(self) -> None:
        """Stop after the copy that is under way."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(EVERY_SECONDS):
            if self._touched.is_set():
                self._touched.clear()
                try:
                    self._copy()
                except (sqlite3.Error, TidelineError) as error:
                    logger.warning("checkpoint of %s failed: %s; it is tried again", self._database.place, error)
                    self._disconnect()
                    self._touched.set()
        self._disconnect()

    def _copy(self) -> None:
        if self._connection is None:
            self._connection = self._database.open_raw()
            self._connection.execute(f"PRAGMA busy_timeout={_PATIENCE_MS}")
        for _ in range(PASSES):
            _, pages, _ = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages <= LARGE_PAGES:
                return
        self._connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
