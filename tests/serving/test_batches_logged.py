"""Batches and a real log: one submission a batch, larger batches under load, one's fault is not the others'."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from serving.answers import Answers
from serving.batcher import Batcher, Share, Turn
from serving.bulk import PART_ROWS
from serving.errors import Refusal
from serving.log import PredictionLog
from serving.schema import Row
from serving.settings import Settings
from tests.wait import wait_for
from tideline.predlog import RecordRefused, StoreUnavailable, open_store, store_url


class Doubling:
    task, version = "numbers", "v1"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def predict(self, rows: Sequence[Row]) -> Answers:
        self.batches.append(len(rows))
        return Answers(
            [2.0 * row["x"] if row["x"] >= 0 else float("nan") for row in rows], {"0.8": [(0.0, 1.0)] * len(rows)}
        )


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PredictionLog]:
    opened = PredictionLog(Settings(home=tmp_path))
    opened.open()
    yield opened
    opened.close()


def stored(home: Path) -> dict[str, float]:
    with open_store(store_url(home, {})) as store:
        tables = list(store.iterate("numbers"))
    ids = [name for table in tables for name in table["prediction_id"].to_pylist()]
    return dict(zip(ids, [v for table in tables for v in table["prediction"].to_pylist()], strict=True))


def test_batches_grow_while_one_is_written(log: PredictionLog, tmp_path: Path) -> None:
    model = Doubling()

    async def ask(batcher: Batcher, first: int) -> list[Share]:
        return [await batcher.submit(Turn(model), [{"x": first + i}], "/predict") for i in range(20)]

    async def scenario() -> list[list[Share]]:
        batcher = Batcher(log, lambda *_: None, 1000)
        return await asyncio.gather(*(ask(batcher, 100 * i) for i in range(10)))

    found: dict[str, float] = {}
    for i, shares in enumerate(asyncio.run(scenario())):
        for j, share in enumerate(shares):
            assert share.ids is not None
            assert share.answers.predictions[share.start] == 2.0 * (100 * i + j)
            found[share.ids[0]] = 2.0 * (100 * i + j)
    assert stored(tmp_path) == found and len(found) == 200
    assert len(model.batches) < 100


def test_a_batch_that_cannot_be_counted_is_answered_all_the_same(
    log: PredictionLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = Doubling()

    def observe(*_: object) -> None:
        raise RuntimeError("no room for the figures")

    async def ask(batcher: Batcher, first: int) -> list[Share]:
        return [await batcher.submit(Turn(model), [{"x": first + i}] * 60, "/predict") for i in range(4)]

    async def scenario() -> list[list[Share]]:
        batcher = Batcher(log, observe, 5000)
        async with asyncio.timeout(30):
            found = await asyncio.gather(*(ask(batcher, 100 * i) for i in range(10)))
            await batcher.submit(Turn(model), [{"x": 1}] * 100, "/predict")
        return found

    for i, shares in enumerate(asyncio.run(scenario())):
        assert [share.answers.predictions[share.start] for share in shares] == [2.0 * (100 * i + j) for j in range(4)]
    assert len(stored(tmp_path)) == 10 * 4 * 60 + 100
    assert "a batch was not counted" in caplog.text


def test_requests_that_were_given_up_take_no_room_and_are_not_predicted(log: PredictionLog, tmp_path: Path) -> None:
    model = Doubling()

    async def scenario() -> list[Share]:
        batcher = Batcher(log, lambda *_: None, max_pending=2)

        def ask(x: int) -> asyncio.Task[Share]:
            return asyncio.create_task(batcher.submit(Turn(model), [{"x": x}]))

        await ask(1)
        with sqlite3.connect(tmp_path / "store" / "predictions.db") as other:
            other.execute("begin immediate")  # nothing can be written
            written = ask(2)
            await asyncio.sleep(0.1)
            given_up = [ask(3), ask(4)]
            await asyncio.sleep(0)
            with pytest.raises(Refusal):
                await ask(5)
            for task in given_up:
                task.cancel()
            await asyncio.wait(given_up)
            waiting = [ask(6), ask(7)]
            await asyncio.sleep(0)
            waiting.pop().cancel()
            other.rollback()
        return [await written, await waiting[0]]

    assert [share.answers.predictions for share in asyncio.run(scenario())] == [[4.0], [12.0]]
    assert model.batches == [1, 1, 1] and sorted(stored(tmp_path).values()) == [2.0, 4.0, 12.0]


def test_a_large_request_is_several_submissions(log: PredictionLog, tmp_path: Path) -> None:
    rows = [{"x": i} for i in range(2 * PART_ROWS + 7)]
    share = asyncio.run(Batcher(log, lambda *_: None, 10_000).submit(Turn(Doubling()), rows))
    assert share.ids == sorted(share.ids or []) and stored(tmp_path) == dict(
        zip(share.ids, share.answers.predictions, strict=True)
    )
    assert log.state.groups >= 3


def test_a_record_that_is_refused_fails_alone(log: PredictionLog, tmp_path: Path) -> None:
    model = Doubling()

    async def scenario() -> list[Share | BaseException]:
        batcher = Batcher(log, lambda *_: None, 1000)
        asked = (batcher.submit(Turn(model), [{"x": x}]) for x in (1, -1, 3))
        return await asyncio.gather(*asked, return_exceptions=True)

    first, refused, last = asyncio.run(scenario())
    assert isinstance(first, Share) and isinstance(last, Share) and isinstance(refused, RecordRefused)
    assert first.answers.predictions == [2.0] and last.answers.predictions == [6.0]
    assert sorted(stored(tmp_path).values()) == [2.0, 6.0]


def test_after_the_end_nothing_is_answered(tmp_path: Path) -> None:
    log = PredictionLog(Settings(home=tmp_path))
    log.open()
    wait_for(lambda: log.takes_records)
    log.close()
    assert not log.takes_records
    with pytest.raises(StoreUnavailable, match="about to stop"):
        asyncio.run(Batcher(log, lambda *_: None, 1000).submit(Turn(Doubling()), [{"x": 1}]))


def test_small_requests_wait_in_a_bounded_room() -> None:
    async def scenario() -> list[Share | BaseException]:
        batcher = Batcher(None, lambda *_: None, max_pending=3)
        asked = (batcher.submit(Turn(Doubling()), [{"x": i}]) for i in range(5))
        return await asyncio.gather(*asked, return_exceptions=True)

    *taken, first, second = asyncio.run(scenario())
    assert all(isinstance(share, Share) for share in taken)
    for refused in (first, second):
        assert isinstance(refused, Refusal) and refused.status == 429
