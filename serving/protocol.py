"""HTTP for a request that has come as a whole: no ASGI messages between, and head and body leave in one write.

uvicorn's protocol makes a scope, an event, a cycle and a timer for each request and writes twice: a quarter of what a
prediction costs (docs/peers.md). A small POST needs none of it: it is held until its last byte is here. What is large
or slow, all other requests, and every connection's life (timeouts, pipelining, shutdown) are left to uvicorn.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

import uvicorn.config

from serving.app import Application
from serving.asgi import BODY, Message, Scope
from serving.heads import HEAD_BYTES, HeadProtocol

GRACE = 0.1  # seconds that a request is held; clients often send head and body apart
HELD_BYTES = 65_536
_NOBODY = asyncio.Event()  # what is set when a connection is lost and nobody waits for it
_INDIRECT = frozenset(b"%?#")


class WholeRequest:
    """One request of a connection, in the place of uvicorn's cycle: the parent class reads and sets these."""

    __slots__ = ("body", "disconnected", "keep_alive", "message_event", "response_complete")

    def __init__(self, body: bytes, keep_alive: bool) -> None:
        self.body: bytes | None = body
        self.keep_alive = keep_alive
        self.disconnected = self.response_complete = False
        self.message_event = _NOBODY

    async def receive(self) -> Message:
        """The whole body; then, that the client has gone, when it has."""
        if self.body is not None:
            body, self.body = self.body, None
            return {"type": "http.request", "body": body}
        if not self.disconnected:
            self.message_event = asyncio.Event()
            await self.message_event.wait()
        return {"type": "http.disconnect"}


class WholeProtocol(HeadProtocol):
    """The protocol with limits for heads, with a shorter way for whole requests to `application`."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._held = False  # a request that may soon be whole
        self._grace: asyncio.TimerHandle | None = None
        self._body = b""
        self._idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection is idle until it asks for something."""
        super().connection_made(transport)
        self._wait_idly()

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request, all of it, or several."""
        super().data_received(data)
        if self._held and self._grace is None and self.parser is not None:
            self._grace = self.loop.call_later(GRACE, self._pass_on)

    def on_message_begin(self) -> None:
        """Nothing is made before it is known what the request needs."""
        self.url = self._body = b""
        self.expect_100_continue = False
        self.headers = []
        self._in_head, self._more, self._head_since = True, 0, 0.0
        self._idle_since = 0.0

    def on_headers_complete(self) -> None:
        """Hold a request that may be whole, and hand all others on."""
        self._in_head, self._idle_since = False, 0.0
        if self._seen > HEAD_BYTES:  # else it cannot be
            self._check_size()
        self._held = (
            (self.cycle is None or self.cycle.response_complete)
            and self.limit_concurrency is None
            and not self.expect_100_continue
            and not self.parser.should_upgrade()
            and self.parser.get_method() == b"POST"
            and self.url[:1] == b"/"
            and _INDIRECT.isdisjoint(self.url)
            and self.parser.get_http_version() == "1.1"
        )
        if not self._held and not self._is_ignored_upgrade():
            self._begin()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._held:
            self._body = self._body + body if self._body else body
            if len(self._body) > HELD_BYTES and self.parser is not None:
                self._pass_on()
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: answer it."""
        if not self._held:
            if not self._is_ignored_upgrade():
                super().on_message_complete()
            return
        self._release()
        cycle = WholeRequest(self._body, self.parser.should_keep_alive())
        self.cycle = cycle  # type: ignore[assignment]
        scope = {
            "type": "http",
            "method": "POST",
            "path": self.url.decode("latin-1"),
            "raw_path": self.url,
            "headers": self.headers,
            BODY: self._body,
            "server": self.server,
            "client": self.client,
        }
        task = self.loop.create_task(self._answer(cycle, scope))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _begin(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()

    def _release(self) -> None:
        self._held = False
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def _pass_on(self) -> None:
        self._release()
        body = self._body
        self._begin()
        if body:
            super().on_body(body)

    async def _answer(self, cycle: WholeRequest, scope: Scope) -> None:
        arrived = perf_counter()
        try:
            label, answer = await self.application.respond(scope, cycle.receive, arrived)
            if self.flow.write_paused and not cycle.disconnected:
                await self.flow.drain()
            if cycle.disconnected or answer is None:
                return
            response, keep_alive = self.encoder.encode(answer, self.server_state.default_headers, cycle.keep_alive)
            self.transport.write(response)
            cycle.response_complete = True
            if not keep_alive:
                self.transport.close()
            self.on_response_complete()
            self.application.observe(label, answer, arrived)
        finally:
            if not cycle.response_complete:
                self.transport.close()

    def _unset_keepalive_if_required(self) -> None:
        """uvicorn's timer for an idle connection stays, and looks again: a cancelled one a request costs more."""

    def on_response_complete(self) -> None:
        """The next request of the pipeline, or time to be idle."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._wait_idly()

    def _wait_idly(self) -> None:
        self._idle_since = self._head_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def timeout_keep_alive_handler(self) -> None:
        """Close what has been idle too long; look again at what has not."""
        self.timeout_keep_alive_task = None
        if self.transport.is_closing() or not self._idle_since:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left <= 0:
            self.transport.close()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """No timer may act on it any more, or keep its memory."""
        self._release()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        super().connection_lost(exc)


def install(application: Application) -> None:
    """Make it the protocol that uvicorn takes where none is named, as BentoML names none."""
    WholeProtocol.application = application
    uvicorn.config.HTTP_PROTOCOLS["auto"] = WholeProtocol  # type: ignore[assignment]
