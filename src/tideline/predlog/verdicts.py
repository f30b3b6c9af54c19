"""The monitor's verdicts, window by window: kept beside the predictions that they are about."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import sqlalchemy as sa

from tideline.predlog.database import Database
from tideline.predlog.tables import verdicts

_V = verdicts.c


@dataclass(frozen=True)
class StoredVerdict:
    """One row. judged, first, last: µs since 1970-01-01 UTC; first and last are the times of the window's outermost
    rows, None if it was empty. verdict: JSON text."""

    task: str
    version: str
    judged: int
    first: int | None
    last: int | None
    rows: int
    status: str
    verdict: str


def save_verdict(database: Database, verdict: StoredVerdict) -> None:
    """Add a row. Raises StoreUnavailable, or RecordRefused if no table can hold it."""
    values = asdict(verdict)
    if database.dialect != "sqlite":
        values["verdict"] = sa.cast(sa.literal(verdict.verdict, sa.Text), _V.verdict.type)  # it is JSON's text already
    with database.transaction() as connection:
        connection.execute(sa.insert(verdicts).values(**values))


def list_verdicts(database: Database, task: str, version: str | None = None, limit: int = 100) -> list[StoredVerdict]:
    """The latest ones of a task by the time of their last row, the newest first. Raises StoreUnavailable."""
    conditions = [_V.task == task]
    conditions += [_V.version == version] if version is not None else []
    text = sa.cast(_V.verdict, sa.Text)
    query = (
        sa.select(_V.task, _V.version, _V.judged, _V.first, _V.last, _V.rows, _V.status, text)
        .where(*conditions)
        .order_by(sa.func.coalesce(_V.last, _V.judged).desc(), _V.verdict_id.desc())
        .limit(limit)
    )
    with database.connect() as connection:
        return [StoredVerdict(*row) for row in connection.execute(query)]


def list_alarms(database: Database, task: str, first: int, last: int) -> list[StoredVerdict]:
    """All verdicts with an alarm, on any version, whose window has a moment from `first` to `last` (µs since 1970-01-01
    UTC), the oldest first. Raises StoreUnavailable."""
    text = sa.cast(_V.verdict, sa.Text)
    query = (
        sa.select(_V.task, _V.version, _V.judged, _V.first, _V.last, _V.rows, _V.status, text)
        .where(_V.task == task, _V.status == "alarm", _V.last >= first, _V.first <= last)
        .order_by(_V.last, _V.verdict_id)
    )
    with database.connect() as connection:
        return [StoredVerdict(*row) for row in connection.execute(query)]


def find_verdict(
    database: Database, task: str, version: str, known: int | None = None
) -> tuple[int, StoredVerdict] | None:
    """The verdict on a version's latest window, with its number in the store; None if there is none, or if its number
    is the one that is `known`. Raises StoreUnavailable."""
    newest = (
        sa.select(_V.verdict_id)
        .where(_V.task == task, _V.version == version)
        .order_by(sa.func.coalesce(_V.last, _V.judged).desc(), _V.verdict_id.desc())
        .limit(1)
    )
    text = sa.cast(_V.verdict, sa.Text)
    whole = sa.select(_V.task, _V.version, _V.judged, _V.first, _V.last, _V.rows, _V.status, text)
    with database.connect() as connection:
        number = connection.execute(newest).scalar()
        if number is None or number == known:
            return None
        return int(number), StoredVerdict(*connection.execute(whole.where(_V.verdict_id == number)).one())
