"""The ASGI application: routes, limits, decoding, and one shape for every error. No framework stands between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec

from serving.errors import Refusal, UnanswerableRow, encode_error
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.champion import Champion

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

DOCS = Path(__file__).parent / "docs.html"
JSON, TEXT = "application/json", "text/plain; charset=utf-8"
BODY_SHARE = 0.8  # of the time-out: a late body is answered with 408, before BentoML's 504
_POLICY = (
    "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'"
)

logger = logging.getLogger("bentoml.tideline")


class Disconnected(Exception):
    """The client has gone: there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    status: int
    body: bytes
    media: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class Application:
    """Answers HTTP requests for one champion. Use `open` before the first request, `close` after the last."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._champion: Champion | None = None
        self._routes: dict[str, tuple[str, Callable[[Scope, Receive], Awaitable[Answer]]]] = {
            "/predict": ("POST", self._predict),
            "/model": ("GET", self._describe_model),
            "/openapi.json": ("GET", self._describe_api),
            "/docs": ("GET", self._show_docs),
            "/": ("GET", self._show_index),
            "/metrics": ("GET", self._show_metrics),
        }
        # BentoML answers GET on these itself.
        self._elsewhere = {"/livez": "GET", "/readyz": "GET", "/healthz": "GET", "/schema.json": "GET"}

    def open(self) -> None:
        """Load the champion. Raises TidelineError if there is none or its bundle is broken."""
        # Imported here: BentoML's parent process imports this module, too, and has no use for onnxruntime.
        from serving.batcher import Batcher
        from serving.champion import Champion
        from serving.metrics import ModelMeter, RequestMeter
        from serving.openapi import describe_api

        champion = Champion(self.settings)
        model_meter = ModelMeter(champion.model)
        self._meter = RequestMeter()
        self._batcher = Batcher(champion.predict, model_meter.observe, self.settings.max_pending_rows)
        self._model_json = msgspec.json.encode(champion.describe())
        self._api_json = msgspec.json.encode(describe_api(champion, self.settings))
        self._champion = champion

    def close(self) -> None:
        """Finish what has begun."""
        if self._champion is not None:
            self._champion = None
            self._batcher.close()

    @property
    def is_ready(self) -> bool:
        """True between `open` and `close`."""
        return self._champion is not None

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
        headers = [(b"content-type", answer.media.encode()), (b"content-length", str(len(answer.body)).encode())]
        headers.extend((name.encode(), value.encode()) for name, value in answer.headers.items())
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        if self._champion is not None:
            self._meter.observe(path if path in self._routes else "other", answer.status, perf_counter() - start)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        path, method = scope["path"], scope["method"]
        route = self._routes.get(path)
        if route is None:
            if path in self._elsewhere:
                raise _wrong_method(path, self._elsewhere[path])
            known = sorted({*self._routes, *self._elsewhere})
            raise Refusal(404, "path", f"there is no {path[:100]!r}", known)
        allowed, handle = route
        if method != allowed and not (method == "HEAD" and allowed == "GET"):
            raise _wrong_method(path, allowed)
        if self._champion is None:
            return Answer(503, encode_error("", "the model is not loaded"), headers={"retry-after": "1"})
        return await handle(scope, receive)

    async def _predict(self, scope: Scope, receive: Receive) -> Answer:
        champion = self._champion
        assert champion is not None
        body = await self._read_body(scope, receive)
        rows = champion.decoder.decode(body)
        try:
            share = await self._batcher.submit(rows)
        except UnanswerableRow as error:
            message = "the model gives no finite number for this row: its values lie outside of what it can compute"
            raise Refusal(422, f"rows[{error.row}]", message) from error
        return Answer(200, champion.encode(share.answers, share.start, share.stop))

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes:
        limit, declared = self.settings.max_body_bytes, None
        media = encoding = b""
        for name, value in scope["headers"]:
            if name == b"content-type":
                media = value
            elif name == b"content-length":
                declared = value
            elif name == b"content-encoding":
                encoding = value
        if media.partition(b";")[0].strip().lower() != b"application/json":
            message = "expected application/json" + (f", got {media[:60].decode('latin-1')}" if media else ", got none")
            raise Refusal(415, "header content-type", message, JSON)
        if encoding not in (b"", b"identity"):
            raise Refusal(415, "header content-encoding", "compressed bodies are not read", "identity")
        if declared is not None and int(declared) > limit:
            raise _too_large(limit)
        seconds = self.settings.timeout * BODY_SHARE
        try:
            async with asyncio.timeout(seconds):
                return await _receive_all(receive, limit)
        except TimeoutError:
            message = f"the body did not arrive within {seconds:g} s; send fewer rows in a request"
            raise Refusal(408, "body", message, {"seconds": seconds}, {"connection": "close"}) from None

    async def _describe_model(self, scope: Scope, receive: Receive) -> Answer:
        return Answer(200, self._model_json)

    async def _describe_api(self, scope: Scope, receive: Receive) -> Answer:
        return Answer(200, self._api_json)

    async def _show_docs(self, scope: Scope, receive: Receive) -> Answer:
        return Answer(200, DOCS.read_bytes(), "text/html; charset=utf-8", {"content-security-policy": _POLICY})

    async def _show_index(self, scope: Scope, receive: Receive) -> Answer:
        return Answer(307, b"see /docs\n", TEXT, {"location": "/docs"})

    async def _show_metrics(self, scope: Scope, receive: Receive) -> Answer:
        from serving.metrics import CONTENT_TYPE, render_metrics

        body = await asyncio.get_running_loop().run_in_executor(None, render_metrics)  # it reads files
        return Answer(200, body, CONTENT_TYPE)


async def _receive_all(receive: Receive, limit: int) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        return body
    chunks, size = [], 0
    while message["type"] == "http.request":
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await receive()
    raise Disconnected


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "body", f"the body is larger than {limit} bytes", {"bytes": limit})


def _wrong_method(path: str, allowed: str) -> Refusal:
    methods = f"{allowed}, HEAD" if allowed == "GET" else allowed
    return Refusal(405, "method", f"{path} takes {methods}", methods.split(", "), {"allow": methods})
