"""Alerts and their delivery, kept so that two processes do not tell the same, and what was not told is told later.

An alert and its deliveries are written in one transaction that sees all earlier ones. A delivery is claimed for a time,
made, and marked as sent: whoever dies in between leaves a claim that runs out, and it is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from tideline.predlog.database import Database
from tideline.predlog.tables import alert_deliveries, alerts

_A, _D = alerts.c, alert_deliveries.c
SEEN = 200  # earlier alerts of a rule that a decision looks at


@dataclass(frozen=True)
class StoredAlert:
    """One row. key: what it is about; last: time of its window's last row, if it is about one (µs); alert: JSON."""

    task: str
    version: str
    source: str
    rule: str
    status: str
    key: str
    raised: int
    last: int | None
    alert: str


@dataclass(frozen=True)
class Claim:
    """A delivery that is this process's to make."""

    alert_id: int
    channel: str
    attempts: int
    alert: str


Decide = Callable[[list[StoredAlert]], list[StoredAlert]]


def raise_alerts(
    database: Database, task: str, source: str, rule: str, channels: Sequence[str], decide: Decide
) -> list[StoredAlert]:
    """Keep the alerts that `decide` makes of the earlier ones (newest first) of a task, source and rule, to be
    delivered by `channels`; they are returned.

    Processes that call this at the same time decide one after the other. Raises StoreUnavailable, RecordRefused.
    """
    query = (
        sa.select(_A.task, _A.version, _A.source, _A.rule, _A.status, _A.key, _A.raised, _A.last,
                  sa.cast(_A.alert, sa.Text))
        .where(_A.task == task, _A.source == source, _A.rule == rule)
        .order_by(_A.alert_id.desc())
        .limit(SEEN)
    )  # fmt: skip
    with database.transaction() as connection:
        if database.dialect != "sqlite":  # whose writers wait for each other anyway
            connection.exec_driver_sql("LOCK TABLE alerts IN SHARE ROW EXCLUSIVE MODE")
        raised = decide([StoredAlert(*row) for row in connection.execute(query)])
        for alert in raised:
            values = {name: getattr(alert, name) for name in StoredAlert.__dataclass_fields__}
            if database.dialect != "sqlite":
                values["alert"] = sa.cast(sa.literal(alert.alert, sa.Text), _A.alert.type)  # it is JSON's text already
            alert_id = connection.execute(sa.insert(alerts).values(**values).returning(_A.alert_id)).scalar_one()
            waiting = [{"alert_id": alert_id, "channel": name, "attempts": 0, "error": ""} for name in channels]
            if waiting:
                connection.execute(sa.insert(alert_deliveries), waiting)
    return raised


def claim_delivery(database: Database, channels: Sequence[str], now: int, until: int) -> Claim | None:
    """The oldest delivery by one of the channels that nobody is at (µs: `now`), claimed `until`; None if there is none.

    Raises StoreUnavailable.
    """
    is_free = sa.or_(_D.claimed.is_(None), _D.claimed <= now)
    query = (
        sa.select(_D.alert_id, _D.channel, _D.attempts)
        .where(_D.sent.is_(None), _D.channel.in_(channels), is_free)
        .order_by(_D.alert_id, _D.channel)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    with database.transaction() as connection:
        found = connection.execute(query).one_or_none()
        if found is None:
            return None
        text = connection.execute(
            sa.select(sa.cast(_A.alert, sa.Text)).where(_A.alert_id == found.alert_id)
        ).scalar_one()
        connection.execute(
            sa.update(alert_deliveries)
            .where(_D.alert_id == found.alert_id, _D.channel == found.channel)
            .values(claimed=until, attempts=found.attempts + 1)
        )
    return Claim(found.alert_id, found.channel, found.attempts + 1, text)


def settle_delivery(database: Database, claim: Claim, sent: int | None, error: str = "") -> None:
    """End a claim: it was sent at that time (µs), or (None) it failed and waits again. Raises StoreUnavailable."""
    statement = sa.update(alert_deliveries).where(_D.alert_id == claim.alert_id, _D.channel == claim.channel)
    if sent is None:
        statement = statement.where(_D.sent.is_(None))  # another process may have been luckier since
    with database.transaction() as connection:
        connection.execute(statement.values(claimed=None, sent=sent, error=error))


def count_waiting(database: Database) -> dict[str, int]:
    """How many alerts are not delivered yet, by channel. Raises StoreUnavailable."""
    query = sa.select(_D.channel, sa.func.count()).where(_D.sent.is_(None)).group_by(_D.channel)
    with database.connect() as connection:
        return {str(name): int(count) for name, count in connection.execute(query)}
