"""The heads of requests: how large and how slow they may be, and what becomes of those that are not read."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.app import Application
from serving.asgi import TEXT, Answer, Receive, Scope, Send, send_answer
from serving.errors import Refusal, encode_refusal
from serving.response import ResponseEncoder

HEAD_BYTES = 65_536  # of a request's target and headers
HEAD_SECONDS = 10.0  # from the first byte of a head to its last
_BROKEN = "Invalid HTTP request received."


class HeadProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with limits for heads. It ignores upgrades but websockets, and answers before it gives up."""

    application: Application
    encoder = ResponseEncoder()
    head_seconds = HEAD_SECONDS

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._in_head = self._is_too_large = False
        self._is_over = False  # nothing more is read
        self._seen = self._more = 0  # bytes from the segment where the head began, and from the one after it
        self._head_since = 0.0
        self._head_timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request, all of it, or several."""
        if self._is_over:
            return
        if self._in_head:
            self._seen += len(data)
            self._more += len(data)
        else:
            self._seen = len(data)
        rest: bytes | memoryview = data
        try:
            while rest:
                rest = self._feed(rest)
        except httptools.HttpParserError:
            self.logger.warning(_BROKEN)
            self.send_400_response(_BROKEN)
        if self._in_head:
            self._watch_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header. What comes after the body is dropped: nobody reads it, and nothing limits it."""
        if self._in_head:
            name = name.lower()
            self.headers.append((name, value))
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True

    def send_400_response(self, msg: str) -> None:
        """The parser gave up: what was asked before is answered first, and nothing that follows."""
        self._in_head = False
        lacks_body = getattr(self.cycle, "more_body", False)
        if self._is_busy() and (self.pipeline or not lacks_body):
            self._is_over, self.cycle.keep_alive = True, False
            if lacks_body:  # it waits for its turn
                self.pipeline[0] = self.cycle, _refuse_broken  # type: ignore[assignment]
        elif self._is_too_large:
            self._end(431, f"the request's target and headers are larger than {HEAD_BYTES:,} bytes", HEAD_BYTES)
        else:
            super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        """No timer may act on it any more, or keep its memory."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().connection_lost(exc)

    def _feed(self, data: bytes | memoryview) -> bytes | memoryview:
        """Parse it. What is left: the parser stops behind a head that asks for another protocol."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self._should_upgrade():
                self._ignore_upgrade()
                return memoryview(data)[upgrade.args[0] :]
            self.handle_websocket_upgrade()
        return b""

    def _is_ignored_upgrade(self) -> bool:
        """Whether the parser will stop behind this head although the connection stays with HTTP.

        Raises ValueError for CONNECT, which ends the parsing: what follows is meant for somebody else.
        """
        if not self.parser.should_upgrade():
            return False
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("nobody is connected with anybody")
        return not self._should_upgrade()

    def _ignore_upgrade(self) -> None:
        """Read the head again as one that asks for no other protocol (RFC 9110 7.8): this parser would skip its body,
        and take that for the next request."""
        parser = self.parser
        lines = [b"%b %b HTTP/%b\r\n" % (parser.get_method(), self.url, parser.get_http_version().encode())]
        lines += [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        self.parser.feed_data(b"".join([*lines, b"\r\n"]))

    def _check_size(self) -> None:
        """Raises ValueError for a whole head that is too large."""
        self._is_too_large = len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers) > HEAD_BYTES
        if self._is_too_large:
            raise ValueError("the head is too large")  # which ends the parsing: send_400_response is told

    def _watch_head(self) -> None:
        """A head that is not whole yet may neither grow nor take its time for ever."""
        if self._more > HEAD_BYTES:
            self._is_too_large = True
            self.send_400_response("")
        elif not self._head_since:
            self._head_since = self.loop.time()
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(self.head_seconds, self._look_at_head)

    def _look_at_head(self) -> None:
        """The timer of a connection's heads looks again rather than being one a request."""
        self._head_timer = None
        if not self._in_head or self.transport.is_closing():
            return
        # While it is busy it may not be reading.
        left = self.head_seconds if self._is_busy() else self._head_since + self.head_seconds - self.loop.time()
        if left > 0:
            self._head_timer = self.loop.call_later(left, self._look_at_head)
        else:
            message = f"the request's headers did not arrive within {self.head_seconds:g} s"
            self._end(408, message, self.head_seconds)

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _end(self, status: int, message: str, limit: float) -> None:
        """Refuse a head that nobody has read, and close: what follows it belongs to it."""
        answer = Answer(status, encode_refusal(Refusal(status, "headers", message, {"maximum": limit}), ""))
        self.transport.write(self.encoder.encode(answer, self.server_state.default_headers, False)[0])
        self.transport.close()
        self.application.observe("other", answer, perf_counter())


async def _refuse_broken(scope: Scope, receive: Receive, send: Send) -> None:
    await send_answer(Answer(400, _BROKEN.encode(), TEXT), send)
