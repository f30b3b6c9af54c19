"""The way to one store: SQLite by default, PostgreSQL by URL; and what its errors mean.

Connections are in autocommit mode; `Database.transaction` says BEGIN itself. SQLite is in WAL mode: readers and the one
writer do not wait for each other, and with synchronous=NORMAL a commit survives the death of the process, but a power
cut may take the last ones (`?synchronous=full` keeps these, too, at the price of an fsync a group).
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from tideline.contracts import TidelineError
from tideline.predlog.records import RecordRefused, StoreUnavailable
from tideline.predlog.schema import prepare_schema

BUSY_SECONDS = 3.0  # how long SQLite waits for another process's commit
CONNECT_SECONDS = 2  # the least that libpq takes
_REFUSED = ("IntegrityError", "DataError", "OverflowError", "UnicodeEncodeError")


class Database:
    """A store by URL. Nothing is opened before it is used; the first use makes or migrates the tables.

    Raises TidelineError for a URL that is neither SQLite's nor PostgreSQL's.
    """

    def __init__(self, url: str) -> None:
        parsed = _parse_url(url)
        self.place = _describe(parsed)
        self.dialect = parsed.get_backend_name()
        self.file: Path | None = None
        self.guard: AbstractContextManager[object] = nullcontext()  # around whatever is asked
        self._checkpoint_pages = 1000  # SQLite's default
        self._opened_lock = threading.Lock()
        self._opened: WeakSet[Any] = WeakSet()  # PostgreSQL's connections, in the pool or out of it
        self._lock, self._prepared, self._existed = threading.Lock(), False, False
        if self.dialect == "sqlite":
            query = dict(parsed.query)
            self._synchronous = _read_synchronous(query.pop("synchronous", "normal"), self.place)
            if not parsed.database or parsed.database == ":memory:" or query:
                raise TidelineError(
                    f"{self.place}: expected sqlite:///PATH.db, with nothing but ?synchronous= after it"
                )
            self.file = Path(parsed.database).absolute()
            self.engine = sa.create_engine("sqlite://", creator=self._open_file, poolclass=QueuePool, **_ENGINE)
            sa.event.listen(self.engine, "connect", self._note_file)
            sa.event.listen(self.engine, "checkout", self._check_file)
            self.error: type[Exception] = sqlite3.Error
        else:
            import psycopg

            options = f"{parsed.query.get('options', '')} {_POSTGRES_OPTIONS}"
            arguments = {**_LIBPQ, "options": options}
            self.engine = sa.create_engine(parsed, connect_args=arguments, pool_pre_ping=True, **_ENGINE)
            sa.event.listen(self.engine, "connect", self._note_connection)
            self.error = psycopg.Error

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """A connection to a store whose tables are there. Raises StoreUnavailable, or TidelineError if the store was
        written by a newer tideline."""
        with self.guard, self.explain(), self.engine.connect() as connection:
            self._prepare(connection)
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A connection inside a transaction that may write; committed at the end, rolled back on any error."""
        with self.connect() as connection:
            with _transact(connection, self.begin):
                yield connection
            if self.file is not None and connection.info["file"] != self.stamp():
                raise FileNotFoundError("its file was replaced while it was open")

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """A connection inside a transaction that reads: all its statements see the same state."""
        begin = "BEGIN" if self.dialect == "sqlite" else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        with self.connect() as connection, _transact(connection, begin):
            yield connection

    @property
    def begin(self) -> str:
        """The statement that begins a writing transaction."""
        return "BEGIN IMMEDIATE" if self.dialect == "sqlite" else "BEGIN"

    def open_raw(self) -> Any:
        """The driver's own connection, outside of the pool, in autocommit mode; the caller closes it."""
        self._prepared = False  # whatever is there now may not be what was there before
        with self.connect():
            pass
        with self.explain():
            pooled = self.engine.raw_connection()
            raw = pooled.driver_connection
            pooled.detach()
            return raw

    def stop_checkpoints(self) -> None:
        """From now on, a commit never copies SQLite's WAL back into the database file: a `Checkpointer` does."""
        self._checkpoint_pages = 0
        self.engine.dispose()

    def cut_off(self) -> None:
        """Break all connections to PostgreSQL, so that what waits for an answer fails."""
        with self._opened_lock:
            opened = list(self._opened)
        for connection in opened:
            with suppress(self.error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)

    def stamp(self) -> tuple[int, int] | None:
        """Which file the store is now (device, inode); None for PostgreSQL. Raises OSError if it is gone."""
        if self.file is None:
            return None
        found = os.stat(self.file)  # noqa: PTH116, each group pays for it
        return found.st_dev, found.st_ino

    def close(self) -> None:
        """Close the pool."""
        self.engine.dispose()

    @contextmanager
    def explain(self) -> Iterator[None]:
        """Turn the drivers' errors into StoreUnavailable or RecordRefused."""
        try:
            yield
        except (SQLAlchemyError, self.error, OSError, OverflowError, UnicodeEncodeError) as error:
            raise self.translate(error) from error

    def translate(self, error: BaseException) -> TidelineError:
        """What a driver's error means: the record is at fault (RecordRefused), or the store (StoreUnavailable)."""
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        kinds = {kind.__name__ for kind in type(cause).__mro__}
        reason = " ".join(str(cause).split()) or type(cause).__name__
        # A value that cannot be bound; both drivers raise the same class for a statement that is wrong.
        if self.dialect == "sqlite":
            unfit = "binding parameter" in reason
        else:
            unfit = "ProgrammingError" in kinds and getattr(cause, "sqlstate", None) is None
        if unfit or kinds.intersection(_REFUSED):
            return RecordRefused(
                f"{self.place} does not take a record: {reason}; see docs/prediction-log.md for its rules"
            )
        return StoreUnavailable(f"{self.place} is not available: {reason}; {self._find_way_out(reason)}")

    def _find_way_out(self, reason: str) -> str:
        if "full" in reason or "No space" in reason:
            return "free space on its disk"
        if "locked" in reason or "lock timeout" in reason:
            return "another process holds it for long: end that process"
        if self.file is not None:
            return "see that its folder is there and may be written"
        return "see that PostgreSQL is up and lets this user in"

    def _prepare(self, connection: sa.Connection) -> None:
        if not self._prepared:
            with self._lock:
                prepare_schema(connection, self.place)
                self._prepared = self._existed = True

    def _note_file(self, connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        record.info["file"] = self.stamp()

    def _check_file(self, connection: sqlite3.Connection, record: ConnectionPoolEntry, proxy: object) -> None:
        if record.info["file"] != self.stamp():
            raise DisconnectionError("the file was replaced")  # SQLAlchemy opens the one that is there now

    def _note_connection(self, connection: Any, record: ConnectionPoolEntry) -> None:
        with self._opened_lock:
            self._opened.add(connection)

    def _open_file(self) -> sqlite3.Connection:
        assert self.file is not None
        # A store that was there and vanished is not begun anew: what it held may come back.
        mode = "rw" if self._existed else "rwc"
        if mode == "rwc":
            self.file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            f"file:{quote(str(self.file))}?mode={mode}", uri=True, timeout=BUSY_SECONDS, isolation_level=None,
            check_same_thread=False,
        )  # fmt: skip
        try:
            _use_wal(connection)
            connection.execute(f"PRAGMA synchronous={self._synchronous}")
            connection.execute(f"PRAGMA wal_autocheckpoint={self._checkpoint_pages}")
            connection.execute("PRAGMA journal_size_limit=67108864")  # bytes
        except BaseException:
            connection.close()
            raise
        return connection


_ENGINE: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"}
_LIBPQ = {
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "tideline",
    "keepalives_idle": 10,
    "tcp_user_timeout": 5_000,  # ms: a network that swallows packets is an error, not a wait
}
_POSTGRES_OPTIONS = "-c lock_timeout=5s -c timezone=UTC"


@contextmanager
def _transact(connection: sa.Connection, begin: str) -> Iterator[None]:
    connection.exec_driver_sql(begin)
    try:
        yield
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        with suppress(SQLAlchemyError):  # the connection may be gone, and its transaction with it
            connection.exec_driver_sql("ROLLBACK")
        raise


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; while another process does so, SQLite answers `locked` at once instead of waiting."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise sqlite3.OperationalError(f"its file system cannot share memory between processes (journal mode {mode})")


def _parse_url(text: str) -> URL:
    try:
        url = sa.make_url(text)
    except ArgumentError:
        raise TidelineError(_EXPECTED) from None  # the text may hold a password
    if url.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        return url
    raise TidelineError(f"{url.drivername}: {_EXPECTED}")


_EXPECTED = "a store's URL is sqlite:///PATH.db or postgresql://USER@HOST/DATABASE; set TIDELINE_STORE_URL to one"


def _describe(url: URL) -> str:
    """The URL without what is secret in it."""
    secret = [key for key in url.query if "password" in key or key == "sslkey"]
    return url.difference_update_query(secret).render_as_string(hide_password=True)


def _read_synchronous(value: str | tuple[str, ...], place: str) -> str:
    if value not in ("normal", "full"):
        raise TidelineError(f"{place}: synchronous is normal or full, not {value}")
    return str(value)
