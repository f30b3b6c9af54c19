"""POST of JSON to an address that is a secret: bounded in time, and never shown in an error."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, urlsplit

from tideline.alert import DeliveryFailed

_PASSING = (408, 425, 429)  # of the statuses below 500


def post_json(address: str, body: Any, timeout: float, variable: str) -> None:
    """Send `body`; any status of 2xx is success. Redirects are not followed: the address would be told to another.

    timeout: seconds for the whole exchange, not for each of its packets. variable: of the environment, where the
    address comes from; it stands in errors in the address' place. Raises DeliveryFailed.
    """
    url = _split(address, variable)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    place = f"{url.hostname} ({variable})"
    connection = kind(url.hostname or "", url.port, timeout=timeout)
    expired = threading.Event()

    def cut_off() -> None:
        expired.set()
        if connection.sock is not None:
            with suppress(OSError):  # it was closed in the meantime
                connection.sock.shutdown(socket.SHUT_RDWR)

    # A socket's own time-out begins anew with each byte of an answer that drips.
    watchdog = threading.Timer(timeout, cut_off)
    watchdog.daemon = True
    watchdog.start()
    try:
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json", "Connection": "close"})
        status = connection.getresponse().status
        if expired.is_set():  # an answer that was cut off reads like a whole one
            raise TimeoutError
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = f"no answer within {timeout:g} s" if expired.is_set() or isinstance(error, TimeoutError) else error
        raise DeliveryFailed(f"{place}: {reason or type(error).__name__}", passing=True) from None
    finally:
        watchdog.cancel()
        connection.close()
    if not 200 <= status < 300:
        raise DeliveryFailed(f"{place} answered {status}", passing=status >= 500 or status in _PASSING)


def _split(address: str, variable: str) -> SplitResult:
    try:
        url = urlsplit(address)
        is_url = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise DeliveryFailed(
            f"{variable} is no address: expected http:// or https://, a host and a path", passing=False
        )
    return url
