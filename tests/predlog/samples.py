"""Records to log, and what is in a store."""

from __future__ import annotations

import random
from typing import Any

import sqlalchemy as sa

from tests.wait import wait_for
from tideline.contracts import Column
from tideline.predlog import Record, Store, mint_ids

__all__ = ["COLUMNS", "START", "make_pets", "make_rents", "read_history", "stored_ids", "wait_for"]

START = 1_700_000_000_000_000  # µs
COLUMNS = (
    Column("size", "number"),
    Column("floor", "integer"),
    Column("kind of home", "category"),
    Column("day", "date"),
    Column("time", "number"),  # as a column of the log
)


def make_rents(n: int, seed: int = 0, start: int = START, **changes: Any) -> list[Record]:
    """Regression records, one a millisecond."""
    draw = random.Random(seed)
    return [
        Record(
            **{
                "prediction_id": name,
                "request_id": f"request-{i // 3}",
                "time": start + i * 1000,
                "task": "rent",
                "version": "v0001-aaaa",
                "role": "champion",
                "features": {
                    "size": draw.uniform(0, 100) if draw.random() > 0.1 else None,
                    "floor": draw.randrange(20),
                    "kind of home": draw.choice(["ä flat", 'a "house"', "日"]),
                    "day": f"2024-02-{draw.randrange(1, 29):02d}",
                    "time": draw.random(),
                },
                "prediction": draw.gauss(300, 100),
                "intervals": {"0.8": [200.0 + draw.random(), 400.0], "0.95": [100.0, 500.0]},
                "latency": draw.randrange(100, 100_000),
                "key": draw.choice([None, "customer-7"]),
                "route": "/predict",
                **changes,
            }
        )
        for i, name in enumerate(mint_ids(n))
    ]


def make_pets(n: int, seed: int = 0, start: int = START, **changes: Any) -> list[Record]:
    """Classification records."""
    draw = random.Random(seed)
    return [
        Record(
            **{
                "prediction_id": name,
                "request_id": f"request-{i}",
                "time": start + i * 1000,
                "task": "pets",
                "version": "v0002-bbbb",
                "role": "champion",
                "features": {"size": draw.random()},
                "predicted_class": "cat",
                "probabilities": {"cat": 0.7, "dog": 0.2, "eel": 0.1},
                "intervals": {"0.8": ["cat"], "0.95": ["cat", "dog"]},
                **changes,
            }
        )
        for i, name in enumerate(mint_ids(n))
    ]


def stored_ids(store: Store) -> list[str]:
    with store.database.connect() as connection:
        return list(connection.execute(sa.text("SELECT prediction_id FROM predictions ORDER BY 1")).scalars())


def read_history(store: Store) -> list[tuple[Any, ...]]:
    """All labels that were ever stored, in their order: prediction, value, class, time, source, whether it counts."""
    with store.database.connect() as connection:
        query = "SELECT prediction_id, label, label_class, time, source, is_current FROM labels ORDER BY label_id"
        return [tuple(row) for row in connection.execute(sa.text(query))]
