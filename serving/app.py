"""The ASGI application: one shape for every answer and every error. No framework stands between."""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import TYPE_CHECKING

from serving.asgi import Answer, Disconnected, Receive, Scope, Send, send_answer
from serving.deadlines import Deadlines
from serving.errors import Refusal, encode_refusal
from serving.routing import ELSEWHERE, Request, Router
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.worker import Worker

logger = logging.getLogger("bentoml.tideline")


class Application:
    """Answers HTTP requests for one task. Use `open` before the first request, `close` after the last."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._worker: Worker | None = None
        self._router: Router | None = None
        self._deadlines = Deadlines(settings.timeout)

    def open(self) -> None:
        """Load the champion, begin to log and to follow the registry.

        Raises TidelineError if there is no champion, its bundle is broken, or the store's URL is none.
        """
        # Imported here: BentoML's parent process imports this module, too, and has no use for onnxruntime.
        from serving.routes import list_routes
        from serving.worker import Worker

        worker = Worker(self.settings)
        self._router = Router(list_routes(worker), ELSEWHERE)
        self._worker = worker

    def close(self) -> None:
        """Finish what has begun, and write what waits."""
        if self._worker is not None:
            worker, self._worker = self._worker, None
            worker.close()

    @property
    def is_ready(self) -> bool:
        """True between `open` and `close`, unless each prediction would be refused because it cannot be logged."""
        return self._worker is not None and self._worker.is_ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection. Websockets are turned away."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1000})
            return
        arrived = perf_counter()
        label, answer = await self.respond(scope, receive, arrived)
        if answer is not None:
            await send_answer(answer, send)
            self.observe(label, answer, arrived)

    async def respond(self, scope: Scope, receive: Receive, arrived: float) -> tuple[str, Answer | None]:
        """The route's path (for the metrics) and the answer to one HTTP request; None if its client has gone."""
        label, worker = "other", self._worker
        task = self._deadlines.enter()
        try:
            if worker is None or self._router is None:
                raise Refusal(
                    503, "", "the model is not loaded; come again, or ask another", None, {"retry-after": "1"}
                )
            route, names = self._router.find(scope["path"], scope.get("raw_path"), scope["method"])
            label = route.path
            key = worker.access.admit(scope, route.needs) if route.needs else ""
            request = Request(scope, receive, dict(scope["headers"]), arrived, names, key)
            return label, await route.handle(request)
        except Disconnected:
            return label, None
        except Refusal as refusal:
            return label, Answer(refusal.status, encode_refusal(refusal, scope["path"]), headers=refusal.headers)
        except asyncio.CancelledError:
            if not self._deadlines.was_late(task):
                raise
            seconds = self._deadlines.seconds
            late = Refusal(504, "", f"not answered within {seconds:g} s", {"seconds": seconds})
            return label, Answer(504, encode_refusal(late, scope["path"]))
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            failure = Refusal(500, "", "the server failed; its log says why")
            return label, Answer(500, encode_refusal(failure, scope["path"]))
        finally:
            self._deadlines.leave(task)

    def observe(self, label: str, answer: Answer, arrived: float) -> None:
        """Count one answer that was sent, and how long it took since `arrived` (perf_counter's clock)."""
        if self._worker is not None:
            self._worker.request_meter.observe(label, answer.status, answer.version, perf_counter() - arrived)
