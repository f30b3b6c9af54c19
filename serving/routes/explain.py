"""POST /explain: rows in, what each column added to their predictions out. Nobody acts on that, so it is not logged."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any
from weakref import WeakKeyDictionary

from serving.asgi import BODY_SHARE, Answer, Disconnected, read_json
from serving.errors import Refusal, UnanswerableRow
from serving.explain import Explainer, Explanation, GivenUp, Question
from serving.live_model import LiveModel
from serving.routing import Request, Route
from serving.worker import Worker

WAITING = 4  # explanations under way or waiting, one worker; each may take seconds

logger = logging.getLogger("bentoml.tideline")


class ExplainRoutes:
    """Explanations, one at a time in a thread of their own: predictions do not wait for them."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._explainers: WeakKeyDictionary[LiveModel, Explainer] = WeakKeyDictionary()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="explain")
        self._waiting = 0
        self.routes = [Route("/explain", "POST", self._explain, needs="predict")]

    async def _explain(self, request: Request) -> Answer:
        settings = self._worker.settings
        body = await read_json(request, settings.max_body_bytes, settings.timeout)
        explainer = await self._find_explainer(self._worker.versions.current.champion.model)
        asked = explainer.decode(body)
        if self._waiting >= WAITING:
            message = f"{self._waiting} explanations are under way already; try again later"
            raise Refusal(429, "rows", message, {"pending": WAITING}, {"retry-after": "1"})
        self._waiting += 1
        try:
            return Answer(200, explainer.encode(asked, await self._run(request, explainer, asked)))
        except UnanswerableRow as error:
            message = "the model gives no finite number for this row, or for its mixtures with training rows"
            raise Refusal(422, f"rows[{error.row}]", message) from error
        finally:
            self._waiting -= 1

    async def _run(self, request: Request, explainer: Explainer, asked: Question) -> list[Explanation]:
        """Explain in the thread. What is late, or whose client has left, is given up, and the thread is free again."""
        given_up = threading.Event()
        work = asyncio.get_running_loop().run_in_executor(self._thread, explainer.explain, asked, given_up)
        gone = asyncio.ensure_future(_wait_until_gone(request))
        seconds = self._worker.settings.timeout * BODY_SHARE
        left = max(0.0, seconds - (perf_counter() - request.arrived))
        both: list[asyncio.Future[Any]] = [work, gone]
        try:
            await asyncio.wait(both, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if gone.done():
                raise Disconnected
            message = f"the explanation was not ready within {seconds:g} s; ask for fewer rows or samples"
            raise Refusal(503, "", message, {"seconds": seconds}, {"retry-after": "1"})
        finally:
            given_up.set()
            gone.cancel()
            if not work.done() and not work.cancel():
                work.add_done_callback(_forget)

    async def _find_explainer(self, live: LiveModel) -> Explainer:
        found = self._explainers.get(live)
        if found is None:
            limit = self._worker.settings.max_explain_rows
            found = await asyncio.get_running_loop().run_in_executor(None, Explainer, live, limit)
            self._explainers[live] = found
        return found


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _forget(work: asyncio.Future[list[Explanation]]) -> None:
    """One that was given up ends with GivenUp, which is nobody's concern."""
    error = None if work.cancelled() else work.exception()
    if error is not None and not isinstance(error, GivenUp | UnanswerableRow):
        logger.error("an explanation that was given up failed", exc_info=error)
