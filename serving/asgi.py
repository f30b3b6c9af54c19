"""HTTP over ASGI without a framework: types, a whole answer, and a body read under its limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from serving.errors import Refusal

if TYPE_CHECKING:
    from serving.routing import Request

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON, TEXT = "application/json", "text/plain; charset=utf-8"
BODY = "tideline.body"  # in a scope: the whole body, where it has come already
_JSON_HEADER = b"content-type", JSON.encode()
BODY_SHARE = 0.8  # of the time-out: a late body is answered with 408, before the 504


class Disconnected(Exception):
    """The client has gone: there is nobody to answer."""


class Answer(msgspec.Struct, frozen=True):
    """A whole response. version: of the model that answered, for the metrics; empty if none did."""

    status: int
    body: bytes
    media: str = JSON
    headers: Mapping[str, str] = {}
    version: str = ""


async def send_answer(answer: Answer, send: Send) -> None:
    """Send it in one piece."""
    media = _JSON_HEADER if answer.media is JSON else (b"content-type", answer.media.encode())
    headers = [media, (b"content-length", b"%d" % len(answer.body))]
    if answer.headers:
        headers.extend((name.encode(), value.encode()) for name, value in answer.headers.items())
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def read_json(request: Request, limit: int, timeout: float) -> bytes:
    """The bytes of a JSON body; see `read_body`."""
    _, body = await read_body(request, limit, timeout, (JSON,))
    return body


async def read_body(
    request: Request, limit: int, timeout: float, known: Sequence[str], default: str = ""
) -> tuple[str, bytes]:
    """The media type and the bytes of a body; `default` is that of a body without one.

    Raises Refusal if its headers name none of the `known` media types or a compression, if it is too large (bytes), or
    too late (408 after 80 % of `timeout` seconds), and Disconnected.
    """
    headers = request.headers
    media = headers.get(b"content-type", b"")
    found = _read_media(media) or default
    if found not in known:
        expected = known[0] if len(known) == 1 else list(known)
        message = f"expected {' or '.join(known)}, got {media[:60].decode('latin-1') or 'none'}"
        raise Refusal(415, "header content-type", message, expected)
    if headers.get(b"content-encoding", b"") not in (b"", b"identity"):
        raise Refusal(415, "header content-encoding", "compressed bodies are not read", "identity")
    try:
        length = int(headers.get(b"content-length", b"0"))
    except ValueError:  # zeros before it: Python reads no number of more than 4,300 digits
        message = "expected the number of bytes in the body, without zeros before it"
        raise Refusal(400, "header content-length", message, {"type": "integer", "maximum": limit}) from None
    if length > limit:
        raise _too_large(limit)
    body: bytes | None = request.scope.get(BODY)
    if body is None:
        body = await _receive_in_time(request.receive, limit, timeout)
    elif len(body) > limit:
        raise _too_large(limit)
    return found, body


@lru_cache(maxsize=64)
def _read_media(header: bytes) -> str:
    return header.partition(b";")[0].strip().lower().decode("latin-1")


async def _receive_in_time(receive: Receive, limit: int, timeout: float) -> bytes:
    seconds = timeout * BODY_SHARE
    receiving = _receive_all(receive, limit)
    try:
        pause = receiving.send(None)
    except StopIteration as ended:  # it was here already, as nearly always: no timer
        return bytes(ended.value)
    try:
        async with asyncio.timeout(seconds):
            return await _Begun(receiving, pause)
    except TimeoutError:
        message = f"the body did not arrive within {seconds:g} s; send less in a request"
        raise Refusal(408, "body", message, {"seconds": seconds}, {"connection": "close"}) from None


class _Begun:
    """Goes on with a coroutine that was begun outside of its task, and waits for `pause` first."""

    def __init__(self, coroutine: Coroutine[Any, Any, bytes], pause: Any) -> None:
        self._coroutine, self._pause = coroutine, pause

    def __await__(self) -> Generator[Any, Any, bytes]:
        try:
            yield self._pause
        except BaseException as error:  # its task is cancelled
            self._coroutine.throw(error)
            raise
        return (yield from self._coroutine.__await__())


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
