"""Where a window of one version's predictions begins and ends, found by the index on time."""

from __future__ import annotations

import sqlalchemy as sa

from tideline.predlog.database import Database
from tideline.predlog.tables import labels, predictions

SKEW = 300_000_000  # µs: how far another machine's clock may be ahead
_P = predictions.c
_LABELLED = predictions.join(labels, sa.and_(labels.c.prediction_id == _P.prediction_id, labels.c.is_current))


def find_last(database: Database, task: str, version: str, until: int | None = None) -> int | None:
    """Time (µs since 1970-01-01 UTC) of the champion's last prediction before `until`; None if there is none."""
    return _find(database, task, version, until, 0)


def find_start(
    database: Database, task: str, version: str, rows: int, until: int | None = None, labelled: bool = False
) -> int | None:
    """Time from which on a champion made its last `rows` predictions before `until`, with `labelled` of those that have
    a label; None if there are fewer.

    Rows of one request have the same time, so that there may be more from then on. Raises StoreUnavailable.
    """
    return _find(database, task, version, until, rows - 1, labelled)


def count_beyond(database: Database, task: str, version: str, moment: int) -> tuple[int, int | None]:
    """How many of a champion's predictions are stamped `moment` or later (µs since 1970-01-01 UTC), and when the last
    one is. Raises StoreUnavailable."""
    query = sa.select(sa.func.count(), sa.func.max(_P.time)).where(
        _P.task == task, _P.version == version, _P.role == "champion", _P.time >= moment
    )
    with database.connect() as connection:
        count, last = connection.execute(query).one()
        return int(count), last


def count_labelled(database: Database, task: str, version: str, since: int, until: int) -> int:
    """How many of a champion's predictions from `since` (included) to `until` (excluded) have a label. Raises
    StoreUnavailable."""
    query = (
        sa.select(sa.func.count())
        .select_from(_LABELLED)
        .where(_P.task == task, _P.version == version, _P.role == "champion", _P.time >= since, _P.time < until)
    )
    with database.connect() as connection:
        return int(connection.execute(query).scalar_one())


def _find(
    database: Database, task: str, version: str, until: int | None, offset: int, labelled: bool = False
) -> int | None:
    conditions = [_P.task == task, _P.version == version, _P.role == "champion"]
    conditions += [_P.time < until] if until is not None else []
    source = _LABELLED if labelled else predictions
    query = sa.select(_P.time).select_from(source).where(*conditions).order_by(_P.time.desc()).limit(1).offset(offset)
    with database.connect() as connection:
        return connection.execute(query).scalar()
