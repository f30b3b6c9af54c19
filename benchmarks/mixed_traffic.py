"""Everything that clients do with a server, at a steady rate: predictions, bulk, labels, explanations, questions."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

BULK_ROWS = 2_000
PAGES = ("/metrics", "/model", "/versions", "/openapi.json", "/readyz")


class MixedTraffic:
    """Clients of one server for as long as a `with` block lasts; `statuses` counts answers by path and status."""

    def __init__(self, port: int, row: dict[str, Any], requests: float) -> None:
        self._port, self._row, self.statuses = port, row, Counter[tuple[str, int]]()
        self.broken: list[str] = []
        self._unlabelled: deque[tuple[str, float]] = deque(maxlen=1_000)
        self._stop = threading.Event()
        clients = 4
        acts = [(self._predict, clients / requests)] * clients
        acts += [(self._predict_bulk, 10.0), (self._label, 0.2), (self._explain, 10.0), (self._read_pages, 5.0)]
        self._threads = [threading.Thread(target=self._run, args=act, daemon=True) for act in acts]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, act: Callable[[http.client.HTTPConnection], None], every: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + every, time.monotonic() - 1.0)  # what is late by more is not made up for
            try:
                act(connection)
            except (OSError, http.client.HTTPException) as error:
                self.broken.append(repr(error))
                connection.close()
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, path: str, body: object = None) -> Any:
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        self.statuses[path, response.status] += 1
        return json.loads(content) if body is not None and response.status == 200 else None

    def _predict(self, connection: http.client.HTTPConnection) -> None:
        answer = self._ask(connection, "/predict", {"rows": [self._row] * random.randint(1, 3)})
        if answer is not None:
            self._unlabelled.append((answer["prediction_ids"][0], answer["predictions"][0]))

    def _predict_bulk(self, connection: http.client.HTTPConnection) -> None:
        self._ask(connection, "/predict", {"rows": [self._row] * BULK_ROWS})

    def _label(self, connection: http.client.HTTPConnection) -> None:
        labels = []
        while self._unlabelled and len(labels) < 20:
            name, predicted = self._unlabelled.popleft()
            labels.append({"prediction_id": name, "label": predicted * random.uniform(0.8, 1.2)})
        if labels:
            self._ask(connection, "/feedback", {"labels": labels})

    def _explain(self, connection: http.client.HTTPConnection) -> None:
        self._ask(connection, "/explain", {"rows": [self._row], "samples": 48})

    def _read_pages(self, connection: http.client.HTTPConnection) -> None:
        for path in PAGES:
            self._ask(connection, path)
