"""What leaves the log: to a Parquet file, or for good."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from tideline.contracts import Column, TidelineError
from tideline.files import write_file
from tideline.predlog.database import Database
from tideline.predlog.read import describe_rows, iterate
from tideline.predlog.tables import labels, predictions

CHUNK = 500  # rows a transaction when pruning: a server that writes waits no longer than that takes
SHORTEST = timedelta(hours=1)
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Pruned:
    """What a pruning removed. before: µs since 1970-01-01 UTC."""

    predictions: int
    labels: int
    before: int


def export(
    database: Database,
    task: str,
    out: Path,
    since: int | None = None,
    until: int | None = None,
    version: str | None = None,
    columns: Sequence[Column] | None = None,
    progress: Callable[[int], object] = lambda rows: None,
) -> int:
    """Write a task's predictions and labels to a Parquet file; how many there were.

    The rows are those of `iterate`, of one `version` if it is named; what is logged after the start is left out. The
    file has its name once it is whole. `progress` is told the rows of each batch. Raises TidelineError if there is
    nothing to export.
    """
    import pyarrow.parquet as pq

    end = now() if until is None else until
    rows = 0

    def write(part: Path) -> None:
        nonlocal rows
        with pq.ParquetWriter(part, describe_rows(columns), compression="zstd") as writer:
            for table in iterate(database, task, since, end, version, columns=columns):
                writer.write_table(table)
                rows += table.num_rows
                progress(table.num_rows)
        if rows == 0:
            raise TidelineError(f"{database.place} {_describe_lack(database, task, version)}")

    try:
        write_file(out, write)
    except OSError as error:
        raise TidelineError(f"{out} cannot be written: {error.strerror}; name another place") from error
    finally:
        out.with_name(out.name + ".part").unlink(missing_ok=True)
    return rows


def prune(
    database: Database,
    task: str,
    older_than: timedelta,
    progress: Callable[[int], object] = lambda rows: None,
    warn: Callable[[int], object] = lambda rows: None,
) -> Pruned:
    """Remove a task's predictions older than that, and their labels, a few hundred rows a transaction.

    warn: told first how many of them have a label, if any has; no snapshot may hold these yet. Raises TidelineError for
    an age below an hour, or if the log knows no such task.
    """
    if older_than < SHORTEST:
        raise TidelineError(f"older than {older_than} would remove what is being labelled; name at least an hour (1h)")
    before = now() - older_than // timedelta(microseconds=1)
    removed = Pruned(0, 0, before)
    _require_task(database, task)
    if labelled := _count_labelled(database, task, before):
        warn(labelled)
    oldest = (
        sa.select(predictions.c.prediction_id)
        .where(predictions.c.task == task, predictions.c.time < before)
        .order_by(predictions.c.time)
        .limit(CHUNK)
        .with_for_update()  # no label may come in between; SQLite has one writer at a time, and no such words
    )
    while True:
        start = time.monotonic()
        with database.transaction() as connection:
            ids = connection.execute(oldest).scalars().all()
            gone = connection.execute(sa.delete(labels).where(labels.c.prediction_id.in_(ids))).rowcount if ids else 0
            if ids:
                connection.execute(sa.delete(predictions).where(predictions.c.prediction_id.in_(ids)))
        if not ids:
            return removed
        removed = Pruned(removed.predictions + len(ids), removed.labels + gone, before)
        progress(len(ids))
        time.sleep(time.monotonic() - start)  # SQLite has no queue: a waiting writer needs a pause to get its turn


def parse_age(text: str) -> timedelta:
    """`90d`, `12h` or `6w`. Raises TidelineError for anything else."""
    match = re.fullmatch(r"(\d{1,6})([hdw])", text.strip())
    if match is None:
        raise TidelineError(f"{text!r} is no age; write hours, days or weeks as 12h, 90d or 6w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def parse_time(text: str) -> int:
    """A date or time in ISO format, UTC if it names no zone, as µs since 1970-01-01 UTC. Raises TidelineError."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise TidelineError(f"{text!r} is no time; write 2025-01-31 or 2025-01-31T12:00") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def now() -> int:
    """µs since 1970-01-01 UTC."""
    return time.time_ns() // 1000


def _count_labelled(database: Database, task: str, before: int) -> int:
    source = predictions.join(labels, labels.c.prediction_id == predictions.c.prediction_id)
    is_old = sa.and_(predictions.c.task == task, predictions.c.time < before, labels.c.is_current)
    with database.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(source).where(is_old)).scalar_one())


def _require_task(database: Database, task: str) -> None:
    with database.connect() as connection:
        found = connection.execute(sa.select(predictions.c.task).where(predictions.c.task == task).limit(1)).first()
    if found is None:
        raise TidelineError(f"{database.place} {_describe_lack(database, task)}")


def _describe_lack(database: Database, task: str, version: str | None = None) -> str:
    with database.connect() as connection:
        tasks = connection.execute(sa.select(predictions.c.task).distinct()).scalars().all()
    if task in tasks:
        by = f" by {version}" if version else ""
        return f"holds no predictions of {task!r}{by} in that time; widen --since and --until"
    return f"holds no predictions of {task!r}; there are some of: {', '.join(sorted(tasks)) or 'nothing yet'}"
