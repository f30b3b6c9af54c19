"""The longest that a request may take, on a real event loop."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from serving.app import Application
from serving.asgi import Answer
from serving.deadlines import LOOKS, Deadlines
from serving.routing import Request, Route, Router
from serving.settings import Settings
from tideline.bundle import Bundle


def test_what_takes_too_long_is_cancelled_and_the_rest_is_left_alone() -> None:
    deadlines = Deadlines(0.2)
    told: list[tuple[str, float]] = []

    async def work(name: str, seconds: float) -> None:
        start = time.monotonic()
        task = deadlines.enter()
        try:
            await asyncio.sleep(seconds)
            told.append((name, time.monotonic() - start))
        except asyncio.CancelledError:
            assert deadlines.was_late(task)
            assert not deadlines.was_late(task)
            assert not task.cancelling()
            await asyncio.sleep(0.01)  # it may go on
            told.append((f"{name} late", time.monotonic() - start))
        finally:
            deadlines.leave(task)

    async def main() -> None:
        await asyncio.gather(work("slow", 5), work("quick", 0.05), work("slower", 6))
        await asyncio.sleep(0.3)  # nobody looks any more
        await asyncio.gather(work("later", 5))

    asyncio.run(main())
    assert [name for name, _ in told] == ["quick", "slow late", "slower late", "later late"]
    for _, seconds in told[1:]:
        assert 0.2 <= seconds < 0.2 * (1 + 1 / LOOKS) + 0.15


def test_another_cancellation_is_not_taken_for_a_late_one() -> None:
    deadlines = Deadlines(10)

    async def main() -> None:
        task = asyncio.ensure_future(work())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def work() -> None:
        task = deadlines.enter()
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            assert not deadlines.was_late(task)
            raise

    asyncio.run(main())


def test_a_request_that_takes_too_long_gets_504(regression_bundle: Bundle, tmp_path: Path) -> None:
    application = Application(Settings(bundle=regression_bundle.path, home=tmp_path, log=False, timeout=0.2))
    application.open()
    sent: list[Any] = []

    async def hang(request: Request) -> Answer:
        await asyncio.sleep(5)
        raise AssertionError

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    application._router = Router([Route("/slow", "GET", hang)], {})
    asyncio.run(application({"type": "http", "method": "GET", "path": "/slow", "headers": []}, receive, send))
    application.close()
    assert sent[0]["status"] == 504
    assert json.loads(sent[1]["body"])["error"]["message"] == "not answered within 0.2 s"
