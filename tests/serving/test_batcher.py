"""The batcher: one run a turn, every request its own rows, no request pays for its neighbour."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from serving.answers import Answers
from serving.batcher import INLINE_ROWS, MERGED_ROWS, Batcher, Turn
from serving.errors import Refusal, UnanswerableRow
from serving.schema import Row


class Doubling:
    """Answers twice the value of a row's only column; a negative value cannot be answered."""

    task, version = "numbers", "v1"

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def predict(self, rows: Sequence[Row]) -> Answers:
        self.gate.wait(5)
        self.batches.append(len(rows))
        self.threads.add(threading.current_thread().name)
        for i, (value,) in enumerate(rows):
            if value < 0:
                raise UnanswerableRow(i)
        return Answers([2 * value for (value,) in rows])


def rows_of(first: int, n: int) -> list[Row]:
    return [(first + i,) for i in range(n)]


def ignore(*_: object) -> None:
    pass


async def ask(batcher: Batcher, model: Doubling, rows: list[Row]) -> list[int]:
    share = await batcher.submit(Turn(model), rows)
    assert share.ids is None
    return share.answers.predictions[share.start : share.stop]


def test_requests_of_one_turn_share_a_run() -> None:
    model = Doubling()
    observed: list[int] = []

    async def scenario() -> list[list[int]]:
        batcher = Batcher(None, lambda _, rows: observed.append(rows), 1000)
        return await asyncio.gather(*(ask(batcher, model, rows_of(10 * i, 1 + i % 3)) for i in range(20)))

    answers = asyncio.run(scenario())
    assert answers == [[2 * (10 * i + j) for j in range(1 + i % 3)] for i in range(20)]
    assert model.batches == observed == [sum(1 + i % 3 for i in range(20))]


def test_two_models_share_a_turn_the_smaller_batch_first() -> None:
    champion, canary = Doubling(), Doubling()
    runs: list[tuple[bool, int]] = []

    async def scenario() -> list[list[int]]:
        batcher = Batcher(None, lambda model, rows: runs.append((model is canary, rows)), 1000)
        models = [canary if i % 5 == 3 else champion for i in range(20)]
        return await asyncio.gather(*(ask(batcher, model, rows_of(i, 1)) for i, model in enumerate(models)))

    assert asyncio.run(scenario()) == [[2 * i] for i in range(20)]
    assert runs == [(True, 4), (False, 16)]


def test_a_batch_has_a_largest_size() -> None:
    model = Doubling()

    async def scenario() -> None:
        batcher = Batcher(None, ignore, 1000)
        await asyncio.gather(*(ask(batcher, model, rows_of(0, 50)) for _ in range(20)))

    asyncio.run(scenario())
    assert max(model.batches) <= MERGED_ROWS
    assert sum(model.batches) == 1000


def test_one_bad_request_does_not_harm_the_others() -> None:
    model = Doubling()

    async def scenario() -> list[list[int] | BaseException]:
        batcher = Batcher(None, ignore, 1000)
        return await asyncio.gather(
            *(ask(batcher, model, rows) for rows in ([(1,)], [(2,), (-1,)], [(3,)])), return_exceptions=True
        )

    first, bad, last = asyncio.run(scenario())
    assert (first, last) == ([2], [6])
    assert isinstance(bad, UnanswerableRow)
    assert bad.row == 1


def test_a_cancelled_request_does_not_harm_the_others() -> None:
    async def scenario() -> list[int]:
        batcher = Batcher(None, ignore, 1000)
        gone = asyncio.ensure_future(batcher.submit(Turn(Doubling()), [(1,)]))
        stays = asyncio.ensure_future(ask(batcher, Doubling(), [(2,)]))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert asyncio.run(scenario()) == [4]


def test_bulk_leaves_the_event_loop_and_is_bounded() -> None:
    model = Doubling()
    model.gate.clear()

    async def scenario() -> None:
        batcher = Batcher(None, ignore, max_pending=2 * INLINE_ROWS + 2)
        first, second = (asyncio.ensure_future(ask(batcher, model, rows_of(0, INLINE_ROWS + 1))) for _ in range(2))
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as caught:
            await batcher.submit(Turn(model), rows_of(0, INLINE_ROWS + 1))
        assert (caught.value.status, caught.value.headers) == (429, {"retry-after": "1"})
        model.gate.set()
        assert await first == await second == [2 * i for i in range(INLINE_ROWS + 1)]
        assert await ask(batcher, model, rows_of(0, INLINE_ROWS + 1))  # there is room again
        batcher.close()

    asyncio.run(scenario())
    assert all(name.startswith("bulk") for name in model.threads)


def test_a_batch_holds_one_model() -> None:
    old, new = Doubling(), Doubling()

    async def scenario() -> None:
        batcher = Batcher(None, ignore, 1000)
        await asyncio.gather(*(ask(batcher, old if i < 7 else new, [(i,)]) for i in range(10)))

    asyncio.run(scenario())
    assert (old.batches, new.batches) == ([7], [3])
