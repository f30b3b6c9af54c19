"""What the log says of each version in sums that the database makes: cheap enough to be asked every few seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import sqlalchemy as sa

from tideline.predlog.database import Database
from tideline.predlog.records import NAMED
from tideline.predlog.tables import counts_in_figures, labelled_id, labels, predictions

_P, _L = predictions.c, labels.c


@dataclass(frozen=True)
class Moments:
    """n values, their mean and standard deviation (0 for fewer than two)."""

    n: int = 0
    mean: float = 0.0
    deviation: float = 0.0

    @classmethod
    def of_sums(cls, n: int, total: float | None, squares: float | None) -> Moments:
        """From the sum of the values and that of their squares."""
        if not n or total is None or squares is None:
            return cls()
        mean = total / n
        variance = max(0.0, squares - n * mean * mean) / (n - 1) if n > 1 else 0.0
        return cls(n, mean, math.sqrt(variance))


NONE = Moments()


@dataclass(frozen=True)
class Tally:
    """One version in one role. loss: absolute error of the labelled rows, in the target's unit; 0 or 1 for classes,
    which is what `is_share` says. square: loss squared.

    latency: µs from a request's arrival to its prediction, one value a request (none for a shadow's).
    """

    version: str
    role: str
    predictions: int
    loss: Moments = NONE
    square: Moments = NONE
    latency: Moments = NONE
    is_share: bool = False


def tally(database: Database, task: str, since: int) -> list[Tally]:
    """What each version did in each role since a time (µs since 1970-01-01 UTC).

    Requests that named their version are left out: whoever asked chose what it was asked. Numbers beyond `LARGEST`,
    which a store may hold from earlier, count as if they had no label. Raises StoreUnavailable.
    """
    miss = sa.case((_L.label_class == _P.predicted_class, 0.0), (_L.label_class.is_not(None), 1.0))
    loss = sa.case((_L.label.is_not(None), sa.func.abs(_P.prediction - _L.label)), else_=miss)
    first = _P.prediction_id == _P.request_id  # one row a request
    latency = sa.case((first, sa.cast(_P.latency, sa.Double)))
    count, total = sa.func.count, sa.func.sum
    query = (
        sa.select(
            _P.version, _P.role, count(), count(_L.label_class), count(loss), total(loss), total(loss * loss),
            total(loss * loss * loss * loss), count(latency), total(latency), total(latency * latency),
        )
        .select_from(
            predictions.outerjoin(labels, sa.and_(_L.prediction_id == labelled_id, _L.is_current, counts_in_figures()))
        )
        .where(_P.task == task, _P.time >= since, sa.or_(_P.route.is_(None), _P.route != NAMED))
        .group_by(_P.version, _P.role)
        .order_by(_P.version, _P.role)
    )  # fmt: skip
    with database.connect() as connection:
        rows = connection.execute(query).all()
    return [
        Tally(
            version, role, n, Moments.of_sums(labelled, first, second), Moments.of_sums(labelled, second, fourth),
            Moments.of_sums(*latencies), is_share=classes > 0,
        )
        for version, role, n, classes, labelled, first, second, fourth, *latencies in rows
    ]  # fmt: skip
