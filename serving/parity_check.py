"""Before a version takes traffic it answers a sample of the holdout, and is compared with what evaluation computed.

The server asks itself, over HTTP and through its own `/predict`: everything between socket and model takes part.
Its questions carry a token that only its own processes know; they are answered by the version that they name, and are
neither logged nor counted as traffic.
"""

from __future__ import annotations

import hmac
import http.client
import ipaddress
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec

from serving.errors import Refusal
from serving.live_model import LiveModel
from serving.settings import Settings
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.live_parity import Sample, find_difference, read_parity

HEADER = b"x-tideline-parity"
QUESTION_ROWS = 8  # a question: the traffic waits behind no more than that
PATIENCE = 3.0  # seconds until a worker that has loaded the version must have been met
_ABSENT = 409


class NotReached(TidelineError):
    """No worker with this version was met yet: it may be tried again soon."""


class ParityCheck:
    """Asks this server about a version. `token` opens the door; see `find_token`."""

    def __init__(self, settings: Settings, token: str) -> None:
        address = ipaddress.ip_address(settings.host)
        loopback = "127.0.0.1" if address.version == 4 else "::1"
        self._host = loopback if address.is_unspecified else settings.host
        self._port, self._max_rows, self._token = settings.port, settings.max_rows, token

    def check(self, layout: Layout, live: LiveModel) -> None:
        """Raises TidelineError if the version answers otherwise than offline, or nothing says what it should answer,
        and NotReached if no worker could be asked."""
        self._compare(layout, live, self._ask)

    def check_inside(self, layout: Layout, live: LiveModel) -> None:
        """The same before anything listens: without the socket."""

        def ask(version: str, body: bytes) -> dict[str, Any]:
            try:
                rows = live.decoder.decode(body)
            except Refusal as refusal:
                raise TidelineError(f"{version} fails parity: it refuses {refusal.path}: {refusal.message}") from None
            answer: dict[str, Any] = msgspec.json.decode(live.encode(live.predict(rows), 0, len(rows)))
            return answer

        self._compare(layout, live, ask)

    def _compare(self, layout: Layout, live: LiveModel, ask: Callable[[str, bytes], dict[str, Any]]) -> None:
        sample = read_parity(layout, live.version)
        if sample.digest != live.bundle.digest:
            raise TidelineError(f"{live.version}: its parity sample is that of another bundle; offer it again")
        for start, part in _split(sample, min(QUESTION_ROWS, self._max_rows)):
            answer = ask(live.version, msgspec.json.encode({"rows": part.rows}))
            if answer["model"]["version"] != live.version:
                raise TidelineError(f"{live.version} was asked, {answer['model']['version']} answered")
            if difference := find_difference(part, answer, start):
                raise TidelineError(f"{live.version} fails parity: served, {difference}")

    def _ask(self, version: str, body: bytes) -> dict[str, Any]:
        headers = {
            "content-type": "application/json",
            "authorization": f"Bearer {self._token}",
            HEADER.decode(): f"{self._token} {version}",
        }
        end, said = time.monotonic() + PATIENCE, "nobody answered"
        while time.monotonic() < end:  # each connection may meet another worker
            try:
                connection = http.client.HTTPConnection(self._host, self._port, timeout=PATIENCE)
                try:
                    connection.request("POST", "/predict", body, headers)
                    response = connection.getresponse()
                    status, content = response.status, response.read()
                finally:
                    connection.close()
            except OSError as error:
                said = str(error)
            else:
                if status == 200:
                    answer: dict[str, Any] = msgspec.json.decode(content)
                    return answer
                said = f"{status} {content[:300].decode(errors='replace')}"
                if status != _ABSENT:
                    raise TidelineError(f"{version} fails parity: served, it answers {said}")
            time.sleep(0.02)
        raise NotReached(f"{version} could not be asked at {self._host}:{self._port}: {said}")


def find_token(settings: Settings) -> str:
    """The one that all workers of this server have, or a new one, which is right for a single process."""
    return settings.parity_token or secrets.token_hex(32)


def read_question(header: bytes, token: str) -> str:
    """The version that a parity question names. Raises Refusal if it does not come from this server."""
    presented, _, version = header.partition(b" ")
    if not hmac.compare_digest(presented, token.encode()):
        raise Refusal(403, f"header {HEADER.decode()}", "this header is for the server's own use")
    return version.decode("latin-1")


def refuse_absent(version: str) -> Refusal:
    """Refusal: this worker has not loaded the version."""
    return Refusal(_ABSENT, f"header {HEADER.decode()}", f"{version} is not loaded here")


def _split(sample: Sample, size: int) -> list[tuple[int, Sample]]:
    return [
        (i, msgspec.structs.replace(sample, rows=sample.rows[i : i + size], answers=sample.answers[i : i + size]))
        for i in range(0, len(sample.rows), size)
    ]
