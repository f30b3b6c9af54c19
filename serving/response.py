"""A whole response as bytes, for one write: status line, headers and body."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE

from serving.asgi import JSON, Answer

_STATUS = {status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
_JSON_LENGTH = b"content-type: " + JSON.encode() + b"\r\ncontent-length: %d\r\n"


class ResponseEncoder:
    """Encodes answers. The server's own headers (its name, the date) are a new list once a second, and joined then."""

    def __init__(self) -> None:
        self._own: Sequence[tuple[bytes, bytes]] = ()
        self._lines = b""

    def encode(self, answer: Answer, own: Sequence[tuple[bytes, bytes]], keep_alive: bool) -> tuple[bytes, bool]:
        """The response, and whether its connection is to be kept, which the answer's own headers may deny.

        Raises RuntimeError for a header that would be more than one.
        """
        if own is not self._own:
            self._own, self._lines = own, b"".join(b"%b: %b\r\n" % header for header in own)
        size = len(answer.body)
        if answer.media is JSON:
            content = _JSON_LENGTH % size
        else:
            content = b"content-type: %b\r\ncontent-length: %d\r\n" % (answer.media.encode(), size)
        if not answer.headers and keep_alive:
            return b"".join((_STATUS[answer.status], self._lines, content, b"\r\n", answer.body)), True
        more = []
        for key, text in answer.headers.items():
            name, value = key.encode(), text.encode()
            if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
                raise RuntimeError(f"header {name!r} may not be sent: it holds control characters")
            if name == b"connection" and value == b"close":
                keep_alive = False
            else:
                more.append(b"%b: %b\r\n" % (name, value))
        if not keep_alive:
            more.append(b"connection: close\r\n")
        return b"".join((_STATUS[answer.status], self._lines, content, *more, b"\r\n", answer.body)), keep_alive
