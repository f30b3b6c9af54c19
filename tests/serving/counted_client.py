"""A client that counts what it sends and is told, and looks for what no answer may hold."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from pathlib import Path


class CountedClient:
    """Sends requests over one connection. `statuses` counts all answers, `given` the predictions by id.

    leaks: answers that tell how the server is made: a stack trace, or a place below `home`.
    """

    def __init__(self, port: int, home: Path, key: str = "") -> None:
        self._port, self._home = port, str(home)
        self._key = {"authorization": f"Bearer {key}"} if key else {}
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.statuses: Counter[int] = Counter()
        self.predicted: Counter[str] = Counter()  # by path: requests that were answered with predictions
        self.given: list[str] = []
        self.leaks: list[str] = []

    @property
    def sent(self) -> int:
        """Requests that were answered."""
        return self.statuses.total()

    def send(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> int:
        """The status of one answer."""
        self._connection.request(method, path, body or None, {**self._key, **(headers or {})})
        response = self._connection.getresponse()
        content = response.read()
        self.note(method, path, response.status, content, str(response.headers))
        return response.status

    def post(self, path: str, body: bytes, media: str = "application/json") -> int:
        """The status of one answer to a POST."""
        return self.send("POST", path, body, {"content-type": media})

    def note(self, method: str, path: str, status: int, content: bytes, headers: str = "") -> None:
        """Count an answer that came another way."""
        self.statuses[status] += 1
        text = headers + content.decode(errors="replace")
        if any(mark in text for mark in ("Traceback", 'File "', self._home)):
            self.leaks.append(f"{method} {path} {status}: {text[:300]}")
        if status == 200 and method == "POST" and path.endswith(("/predict", "/infer")):
            self.predicted[path] += 1
            if path == "/predict" and content.startswith(b"{"):
                self.given += json.loads(content)["prediction_ids"]

    def close(self) -> None:
        """End the connection."""
        self._connection.close()
