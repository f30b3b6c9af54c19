"""What the writer promises while the store is there: groups, order, refusals, bounds."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import wait
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from tests.predlog.samples import make_pets, make_rents, stored_ids, wait_for
from tideline.predlog import Label, QueueFull, Receipt, Record, RecordRefused, Store, StoreUnavailable
from tideline.predlog.records import to_rows
from tideline.predlog.tables import predictions


def test_every_group_size_arrives_whole_and_in_the_columns_it_belongs_to(store: Store) -> None:
    records = make_rents(1, seed=1) + make_pets(64, seed=2) + make_rents(65, seed=3) + make_rents(700, seed=4)
    with store.writer() as writer:
        for start, stop in ((0, 1), (1, 65), (65, 130), (130, 830)):
            assert writer.submit(records[start:stop]).result(10) == Receipt(stop - start, "store")
    texts = {"features", "probabilities", "intervals"}
    columns = [sa.cast(c, sa.Text) if c.name in texts else c for c in predictions.c]
    with store.database.connect() as connection:
        rows = connection.execute(sa.select(*columns).order_by(predictions.c.prediction_id)).all()
    assert [tuple(row) for row in rows] == sorted(to_rows(records))


def test_all_that_waits_is_one_transaction(sqlite_store: Store) -> None:
    with sqlite_store.writer() as writer:
        writer.submit(make_rents(1)).result(10)
        blocker = sqlite3.connect(sqlite_store.database.file or "", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        futures = [writer.submit(make_rents(1, seed=i)) for i in range(200)]
        time.sleep(0.1)
        assert not any(future.done() for future in futures[1:])
        blocker.execute("ROLLBACK")
        blocker.close()
        assert all(future.result(10).place == "store" for future in futures)
        assert writer.state.groups <= 3 and writer.state.stored == 201
    assert len(stored_ids(sqlite_store)) == 201


def test_event_loop_is_called_once_a_group(sqlite_store: Store) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        calls = 0
        original = loop.call_soon_threadsafe

        def count(callback: Callable[..., Any], *arguments: Any, **context: Any) -> Any:
            nonlocal calls
            calls += 1
            return original(callback, *arguments, **context)

        loop.call_soon_threadsafe = count  # type: ignore[method-assign]
        futures = [writer.submit_async(make_rents(2, seed=i)) for i in range(300)]
        futures[7].cancel()  # a client that has gone
        await asyncio.wait(futures)
        assert all(future.result().rows == 2 for future in futures if not future.cancelled())
        return calls

    with sqlite_store.writer() as writer:
        assert asyncio.run(main()) == writer.state.groups < 50
        assert writer.state.stored == 600 and writer.state.pending == 0


def test_labels_come_after_the_predictions_before_them(store: Store) -> None:
    async def main() -> list[str]:
        records = make_rents(50)
        predictions = writer.submit_async(records)
        answers = await writer.submit_labels_async([Label(r.prediction_id, 1.0) for r in records], source="key-1")
        await predictions
        return [answer.state for answer in answers]

    with store.writer() as writer:
        assert asyncio.run(main()) == ["accepted"] * 50
        assert writer.submit_labels([], "").result(10) == []
        assert writer.submit([]).result(10).rows == 0


def test_queue_is_bounded_and_says_so(sqlite_store: Store) -> None:
    with sqlite_store.writer(capacity=100) as writer:
        writer.submit(make_rents(500)).result(10)  # larger than the queue, but nothing waits
        blocker = sqlite3.connect(sqlite_store.database.file or "", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        accepted = [writer.submit(make_rents(50)), writer.submit(make_rents(50))]
        with pytest.raises(QueueFull, match="100 records wait for the prediction store, 100 may; try again"):
            writer.submit(make_rents(1))
        assert writer.state.pending == 100
        blocker.close()
        wait(accepted, 10)
        assert writer.submit(make_rents(1)).result(10).rows == 1
    assert len(stored_ids(sqlite_store)) == 601


@pytest.mark.parametrize(
    "fault, says",
    [
        ({"prediction": math.nan}, "has prediction nan and predicted_class None"),
        ({"prediction": math.inf}, "it takes one of them, and a finite number"),
        ({"prediction": None}, "prediction None and predicted_class None"),
        ({"predicted_class": "cat"}, "predicted_class cat"),
        ({"features": {"a": object()}}, "is no JSON"),
        ({"features": {"a": "\ud800"}}, "is no JSON"),
        ({"role": "boss"}, "does not take a record: .*role_is_known"),
        ({"request_id": None}, "does not take a record"),
        ({"latency": 2**70}, "does not take a record"),
        ({"key": object()}, "does not take a record"),
        ({"key": "\ud800"}, "does not take a record"),
    ],
)
def test_record_at_fault_fails_alone(store: Store, fault: dict[str, Any], says: str) -> None:
    with store.writer() as writer:
        good = make_rents(40)
        futures = [writer.submit([record]) for record in good[:20]]
        bad = writer.submit([*make_rents(3), *make_rents(1, **fault)])
        futures += [writer.submit([record]) for record in good[20:]]
        with pytest.raises(RecordRefused, match=says):
            bad.result(10)
        assert all(future.result(10).place == "store" for future in futures)
        assert writer.state.connected
    assert stored_ids(store) == [record.prediction_id for record in good]


def test_text_that_postgresql_cannot_hold_is_refused_there(store: Store) -> None:
    with store.writer() as writer:
        future = writer.submit(make_rents(1, key="a\0b"))
        if store.database.dialect == "sqlite":
            assert future.result(10).rows == 1
        else:
            with pytest.raises(RecordRefused, match="does not take a record"):
                future.result(10)
        assert writer.submit(make_rents(1)).result(10).rows == 1


def test_features_may_be_any_plain_form(store: Store) -> None:
    class Row(msgspec.Struct):
        size: float
        kind: str

    forms: list[Any] = [
        Row(1.5, "ä"),
        {"size": 1.5, "kind": "ä"},
        '{"size":1.5,"kind":"ä"}',
        msgspec.Raw('{"size":1.5,"kind":"ä"}'.encode()),
    ]
    store.append([Record(**{**msgspec.structs.asdict(make_rents(1)[0]), "features": form}) for form in forms])
    with store.database.connect() as connection:
        found = connection.execute(sa.text("SELECT CAST(features AS TEXT) FROM predictions")).scalars().all()
    assert found == ['{"size":1.5,"kind":"ä"}'] * 4


def test_closing_writes_what_waits_and_then_refuses(store: Store) -> None:
    writer = store.writer().start()
    futures = [writer.submit(make_rents(10, seed=i)) for i in range(50)]
    writer.close()
    assert all(future.done() and future.result().rows == 10 for future in futures)
    with pytest.raises(StoreUnavailable, match="closed"):
        writer.submit(make_rents(1))
    assert len(stored_ids(store)) == 500


def test_thread_that_dies_lets_nobody_wait(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite_store.writer() as writer:
        monkeypatch.setattr(writer, "_write", lambda group: 1 / 0)
        with pytest.raises(StoreUnavailable, match="has stopped: division by zero; restart"):
            writer.submit(make_rents(1)).result(10)
        wait_for(lambda: not writer._thread.is_alive())
        with pytest.raises(StoreUnavailable, match="closed"):
            writer.submit(make_rents(1))


def test_wal_is_copied_back_while_the_writer_goes_on(sqlite_store: Store) -> None:
    assert sqlite_store.database.file is not None
    with sqlite_store.writer() as writer:
        writer.submit(make_rents(2_000)).result(10)
        wait_for(lambda: (sqlite_store.database.file or writer).stat().st_size > 500_000)  # type: ignore[union-attr]
        writer.submit(make_rents(1)).result(10)
