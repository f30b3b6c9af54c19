"""Rows into the table, as fast as the drivers go: many rows a statement, one transaction a group.

A driver gives up Python's lock for each statement and has to win it back from the event loop; with executemany it would
do so for each row. So a statement carries up to 256 rows. Statements of few sizes recur, so that they stay prepared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, Self

from tideline.predlog.database import Database
from tideline.predlog.records import Row
from tideline.predlog.tables import predictions

LARGE, SMALL = 256, 64  # rows a statement: 256s, then 64s, then one statement for what is left
_COLUMNS = tuple(column.name for column in predictions.columns)


class Appender:
    """A connection that only appends. Not for several threads at once."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._statements: dict[int, str] = {}
        self._begin = database.begin
        self._connection = database.open_raw()
        try:
            with database.explain():
                self._cursor = self._open_cursor()
                self._stamp = database.stamp()
        except BaseException:
            self.close()
            raise

    def append(self, rows: Sequence[Row]) -> None:
        """Insert rows in one transaction; a row that is there already (by its id) is left alone.

        When it returns, they are durable. Raises RecordRefused or StoreUnavailable; then none of them counts, and after
        StoreUnavailable this connection is of no further use.
        """
        statements = list(self._plan(rows))
        execute = self._cursor.execute
        with self.database.explain():
            if len(statements) == 1:  # a transaction by itself
                execute(*statements[0])
            elif statements:
                execute(self._begin)
                try:
                    for statement, values in statements:
                        execute(statement, values)
                    execute("COMMIT")
                except BaseException:
                    self._roll_back()
                    raise
            if self.database.stamp() != self._stamp:
                raise FileNotFoundError("its file was replaced while it was open")

    def check_lock(self) -> None:
        """Raises StoreUnavailable if nothing can be written, e.g. because another process holds the store."""
        with self.database.explain():
            self._cursor.execute(self._begin)
            self._cursor.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        with suppress(self.database.error):
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _plan(self, rows: Sequence[Row]) -> Iterator[tuple[str, list[Any]]]:
        start, n = 0, len(rows)
        while start < n:
            left = n - start
            size = LARGE if left >= LARGE else min(left, SMALL)
            yield self._statement(size), list(chain.from_iterable(rows[start : start + size]))
            start += size

    def _statement(self, size: int) -> str:
        if size not in self._statements:
            width = len(_COLUMNS)
            if self.database.dialect == "sqlite":
                places = ["?"] * (width * size)
            else:
                places = [f"${i + 1}" for i in range(width * size)]
            groups = (f"({', '.join(places[i : i + width])})" for i in range(0, width * size, width))
            self._statements[size] = (
                f"INSERT INTO predictions ({', '.join(_COLUMNS)}) VALUES {', '.join(groups)} "
                "ON CONFLICT (prediction_id) DO NOTHING"
            )
        return self._statements[size]

    def _open_cursor(self) -> Any:
        if self.database.dialect == "sqlite":
            return self._connection.cursor()
        import psycopg
        from psycopg.types.numeric import Int8Dumper

        self._connection.prepare_threshold = 0
        self._connection.adapters.register_dumper(
            int, Int8Dumper
        )  # one prepared statement, whatever the size of a number
        return psycopg.RawCursor(self._connection)

    def _roll_back(self) -> None:
        with suppress(self.database.error):  # the connection may be gone, and its transaction with it
            self._cursor.execute("ROLLBACK")
