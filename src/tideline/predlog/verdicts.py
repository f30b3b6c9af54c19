"""The monitor's verdicts, window by window: kept beside the predictions that they are about."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from tideline.predlog.database import Database
from tideline.predlog.tables import verdicts

_V = verdicts.c
_ROW = (
    _V.task, _V.version, _V.judged, _V.first, _V.last, _V.rows, _V.status, sa.cast(_V.verdict, sa.Text),
    _V.labelled_first, _V.labelled_last,
)  # fmt: skip


@dataclass(frozen=True)
class StoredVerdict:
    """One row. judged, first, last: µs since 1970-01-01 UTC; first and last are the times of the window's outermost
    rows, None if it was empty; labelled_first, labelled_last: the same of the rows whose labels it judged, None if it
    judged none. verdict: JSON text."""

    task: str
    version: str
    judged: int
    first: int | None
    last: int | None
    rows: int
    status: str
    verdict: str
    labelled_first: int | None = None
    labelled_last: int | None = None


def save_verdict(database: Database, verdict: StoredVerdict, replaces: int | None = None) -> None:
    """Add a row, in place of the one with the number `replaces`. Raises StoreUnavailable, or RecordRefused if no table
    can hold it."""
    values = asdict(verdict)
    if database.dialect != "sqlite":
        values["verdict"] = sa.cast(sa.literal(verdict.verdict, sa.Text), _V.verdict.type)  # it is JSON's text already
    with database.transaction() as connection:
        connection.execute(sa.insert(verdicts).values(**values))
        if replaces is not None:  # afterwards: SQLite would give its number to the new one, and a reader see none
            connection.execute(sa.delete(verdicts).where(_V.verdict_id == replaces))


def chain_verdicts(
    database: Database, task: str, version: str, first: int, length: int, least: int = 0
) -> list[StoredVerdict]:
    """At most `length` verdicts on windows that lie one before the other and all before `first` (µs since 1970-01-01
    UTC), the newest first, without those on too few rows (fewer than `least`, or that said so).

    Each is the latest that there is, however many overlap with the one after it: one step of the index for each. Raises
    StoreUnavailable.
    """
    enough = sa.and_(_V.rows >= least, _V.status != "undecided")
    return _chain(database, task, version, (_V.first, _V.last), enough, first, length)


def chain_labelled(database: Database, task: str, version: str, first: int, length: int) -> list[StoredVerdict]:
    """The same by the labelled rows that they judged: these lie one before the other, and all before `first`."""
    return _chain(database, task, version, (_V.labelled_first, _V.labelled_last), sa.true(), first, length)


def _chain(
    database: Database,
    task: str,
    version: str,
    span: tuple[sa.Column[Any], sa.Column[Any]],
    condition: sa.ColumnElement[bool],
    first: int,
    length: int,
) -> list[StoredVerdict]:
    low, high = span
    query = (
        sa.select(*_ROW, low.label("begins"))
        .where(_V.task == task, _V.version == version, condition)
        .order_by(high.desc(), _V.verdict_id.desc())
        .limit(1)
    )
    chain: list[StoredVerdict] = []
    with database.connect() as connection:
        while len(chain) < length:
            found = connection.execute(query.where(high < first)).one_or_none()
            if found is None:
                break
            *row, first = found
            chain.append(StoredVerdict(*row))
    return chain


def list_verdicts(
    database: Database, task: str, version: str | None = None, limit: int = 100, until: int | None = None
) -> list[StoredVerdict]:
    """The latest ones of a task by the time of their last row, the newest first. until: without those that were judged,
    or have a row, after it (µs): a clock had run ahead, and they would be the latest till then. Raises
    StoreUnavailable."""
    conditions = [_V.task == task, *_is_until(until)]
    conditions += [_V.version == version] if version is not None else []
    query = (
        sa.select(*_ROW)
        .where(*conditions)
        .order_by(sa.func.coalesce(_V.last, _V.judged).desc(), _V.verdict_id.desc())
        .limit(limit)
    )
    with database.connect() as connection:
        return [StoredVerdict(*row) for row in connection.execute(query)]


def _is_until(until: int | None) -> list[sa.ColumnElement[bool]]:
    return [] if until is None else [sa.func.coalesce(_V.last, _V.judged) <= until, _V.judged <= until]


def list_alarms(database: Database, task: str, first: int, last: int) -> list[StoredVerdict]:
    """All verdicts with an alarm, on any version, whose window has a moment from `first` to `last` (µs since 1970-01-01
    UTC), the oldest first. Raises StoreUnavailable."""
    query = (
        sa.select(*_ROW)
        .where(_V.task == task, _V.status == "alarm", _V.last >= first, _V.first <= last)
        .order_by(_V.last, _V.verdict_id)
    )
    with database.connect() as connection:
        return [StoredVerdict(*row) for row in connection.execute(query)]


def find_verdict(
    database: Database, task: str, version: str, known: int | None = None, until: int | None = None
) -> tuple[int, StoredVerdict] | None:
    """The verdict on a version's latest window, with its number in the store; None if there is none, or if its number
    is the one that is `known`. until: see `list_verdicts`. Raises StoreUnavailable."""
    newest = (
        sa.select(_V.verdict_id)
        .where(_V.task == task, _V.version == version, *_is_until(until))
        .order_by(sa.func.coalesce(_V.last, _V.judged).desc(), _V.verdict_id.desc())
        .limit(1)
    )
    with database.connect() as connection:
        number = connection.execute(newest).scalar()
        if number is None or number == known:
            return None
        return int(number), StoredVerdict(*connection.execute(sa.select(*_ROW).where(_V.verdict_id == number)).one())
