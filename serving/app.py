"""The ASGI application: routes, and one shape for every error. No framework stands between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec

from serving.asgi import TEXT, Answer, Disconnected, Receive, Scope, Send, read_json, send_answer, wrong_method
from serving.errors import Refusal, UnanswerableRow, encode_error
from serving.settings import Settings
from tideline.contracts import TidelineError

if TYPE_CHECKING:
    from serving.log import PredictionLog
    from serving.versions import Versions

DOCS = Path(__file__).parent / "docs.html"
_POLICY = (
    "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'"
)

logger = logging.getLogger("bentoml.tideline")


class Application:
    """Answers HTTP requests for one task. Use `open` before the first request, `close` after the last."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._versions: Versions | None = None
        self._log: PredictionLog | None = None
        self._routes: dict[str, tuple[str, Callable[[Scope, Receive], Awaitable[Answer]]]] = {
            "/predict": ("POST", self._predict),
            "/model": ("GET", self._describe_model),
            "/openapi.json": ("GET", self._describe_api),
            "/docs": ("GET", self._show_docs),
            "/": ("GET", self._show_index),
            "/metrics": ("GET", self._show_metrics),
        }
        if settings.log:
            self._routes["/feedback"] = ("POST", self._take_feedback)
        # BentoML answers GET on these itself.
        self._elsewhere = {"/livez": "GET", "/readyz": "GET", "/healthz": "GET", "/schema.json": "GET"}

    def open(self) -> None:
        """Load the champion, begin to log and to follow the registry.

        Raises TidelineError if there is no champion, its bundle is broken, or the store's URL is none.
        """
        # Imported here: BentoML's parent process imports this module, too, and has no use for onnxruntime.
        from serving.batcher import Batcher
        from serving.feedback import LabelDecoder
        from serving.log import PredictionLog, refuse_unlogged
        from serving.metrics import LogMeter, ModelMeter, RequestMeter, forget_dead_workers
        from serving.pulse import Pulse
        from serving.versions import Versions

        forget_dead_workers()
        versions = Versions(self.settings)
        self._meter, acts = RequestMeter(), [versions.follow]
        self._refuse_unlogged = refuse_unlogged
        if self.settings.log:
            self._log = PredictionLog(self.settings)
            self._log.open()
            self._labels, self._log_meter = LabelDecoder(self.settings.max_labels), LogMeter()
            acts.append(self._measure_log)
        self._batcher = Batcher(self._log, ModelMeter().observe, self.settings.max_pending_rows)
        self._pulse = Pulse(*acts)
        self._pulse.start()
        self._versions = versions

    def close(self) -> None:
        """Finish what has begun, and write what waits."""
        if self._versions is not None:
            self._versions = None
            self._pulse.close()
            self._batcher.close()
            if self._log is not None:
                self._log.close()
                self._measure_log()

    @property
    def is_ready(self) -> bool:
        """True between `open` and `close`, unless each prediction would be refused because it cannot be logged."""
        return self._versions is not None and (self._log is None or self._log.takes_records)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection. Websockets are turned away."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1000})
            return
        start = perf_counter()
        path = scope["path"]
        try:
            answer = await self._answer(scope, receive)
        except Disconnected:
            return
        except Refusal as refusal:
            answer = Answer(refusal.status, refusal.to_json(), headers=refusal.headers)
        except Exception:
            logger.exception("%s %s failed", scope["method"], path)
            answer = Answer(500, encode_error("", "the server failed; its log says why"))
        await send_answer(answer, send)
        if self._versions is not None:
            self._meter.observe(path if path in self._routes else "other", answer.status, perf_counter() - start)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        path, method = scope["path"], scope["method"]
        route = self._routes.get(path)
        if route is None:
            if path in self._elsewhere:
                raise wrong_method(path, self._elsewhere[path])
            known = sorted({*self._routes, *self._elsewhere})
            raise Refusal(404, "path", f"there is no {path[:100]!r}", known)
        allowed, handle = route
        if method != allowed and not (method == "HEAD" and allowed == "GET"):
            raise wrong_method(path, allowed)
        if self._versions is None:
            return Answer(503, encode_error("", "the model is not loaded"), headers={"retry-after": "1"})
        return await handle(scope, receive)

    async def _predict(self, scope: Scope, receive: Receive) -> Answer:
        arrived = perf_counter()
        body = await read_json(scope, receive, self.settings.max_body_bytes, self.settings.timeout)
        champion = self._take_versions().current.champion
        rows = champion.decoder.decode(body)
        try:
            share = await self._batcher.submit(champion, rows, "/predict", arrived)
        except UnanswerableRow as error:
            message = "the model gives no finite number for this row: its values lie outside of what it can compute"
            raise Refusal(422, f"rows[{error.row}]", message) from error
        except TidelineError as error:
            raise self._refuse_unlogged(error) from error
        return Answer(200, champion.encode(share.answers, share.start, share.stop, share.ids))

    async def _take_feedback(self, scope: Scope, receive: Receive) -> Answer:
        from serving.feedback import encode_answers

        assert self._log is not None
        body = await read_json(scope, receive, self.settings.max_body_bytes, self.settings.timeout)
        labels = self._labels.decode(body)
        try:
            answers = await self._log.take_labels(labels)
        except TidelineError as error:
            raise self._refuse_unlogged(error) from error
        self._log_meter.observe_labels(answers)
        return Answer(200, encode_answers(answers))

    async def _describe_model(self, scope: Scope, receive: Receive) -> Answer:
        return Answer(200, msgspec.json.encode(self._take_versions().describe()))

    async def _describe_api(self, scope: Scope, receive: Receive) -> Answer:
        return Answer(200, self._take_versions().current.api_json)

    async def _show_docs(self, scope: Scope, receive: Receive) -> Answer:
        return Answer(200, DOCS.read_bytes(), "text/html; charset=utf-8", {"content-security-policy": _POLICY})

    async def _show_index(self, scope: Scope, receive: Receive) -> Answer:
        return Answer(307, b"see /docs\n", TEXT, {"location": "/docs"})

    async def _show_metrics(self, scope: Scope, receive: Receive) -> Answer:
        from serving.metrics import CONTENT_TYPE, render_metrics

        body = await asyncio.get_running_loop().run_in_executor(None, render_metrics)  # it reads files
        return Answer(200, body, CONTENT_TYPE)

    def _take_versions(self) -> Versions:
        if self._versions is None:  # closed while the body arrived
            raise Refusal(503, "", "the server is about to stop; send it to another", None, {"retry-after": "1"})
        return self._versions

    def _measure_log(self) -> None:
        assert self._log is not None
        self._log_meter.sync(self._log.state)
