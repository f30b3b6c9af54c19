"""Clients that ask one server all the time, and keep what they were told."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.serving.real_server import RealServer, workers_of
from tests.serving.small_bundle import ROW
from tests.wait import wait_for


@dataclass(frozen=True)
class Told:
    """One answer: when it came (monotonic), what was asked, and what was said."""

    at: float
    rows: list[dict[str, Any]]
    status: int
    body: dict[str, Any]
    seconds: float

    @property
    def version(self) -> str:
        return str(self.body["model"]["version"])

    @property
    def ids(self) -> list[str]:
        return list(self.body["prediction_ids"])

    @property
    def worker(self) -> str:
        return worker_of(self.ids[0])


def worker_of(prediction_id: str) -> str:
    """The end of an id, which each process draws for itself: who minted it."""
    return prediction_id[-7:]


@dataclass(frozen=True)
class Labelled:
    """One request with labels: their values by prediction, and what became of each (without status 200: nothing)."""

    values: dict[str, float]
    status: int
    states: dict[str, str]


class Hammer:
    """`clients` threads, each with its own connection, for as long as a `with` block lasts.

    They ask about `row`, or about many different ones. A connection that breaks is kept in `broken` and opened again.
    With `fresh` each request has a connection of its own, so that all workers get some of each client's.
    With `labels` each client labels every third answer, and sends again what was not taken (status 0: no answer).
    """

    def __init__(
        self,
        port: int,
        clients: int = 6,
        row: dict[str, Any] | None = None,
        labels: bool = False,
        fresh: bool = False,
    ) -> None:
        self.port, self.row, self.labels, self.fresh = port, row, labels, fresh
        self.told: list[Told] = []
        self.labelled: list[Labelled] = []
        self.broken: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    @property
    def answered(self) -> list[Told]:
        """Those with status 200."""
        return [told for told in self.told if told.status == 200]

    @property
    def accepted(self) -> dict[str, float]:
        """The labels that were answered as accepted."""
        return {name: one.values[name] for one in self.labelled for name, s in one.states.items() if s == "accepted"}

    def _run(self, client: int) -> None:
        number = 0
        values: dict[str, float] = {}  # labels to send
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self._stop.is_set():
            number += 1
            rows = [self._choose_row(100 * client + number + i) for i in range(1 + number % 3)]
            start = time.monotonic()
            status, body = self._post(connection, "/predict", {"rows": rows})
            now = time.monotonic()
            if status:
                self.told.append(Told(now, rows, status, body, now - start))
            if self.labels and status == 200 and number % 3 == 0 and not values:
                values = {name: p + 0.5 for name, p in zip(body["prediction_ids"], body["predictions"], strict=True)}
            if values and self._send_labels(connection, values):
                values = {}
        connection.close()

    def _send_labels(self, connection: http.client.HTTPConnection, values: dict[str, float]) -> bool:
        """Whether they were taken."""
        labels = [{"prediction_id": name, "label": value} for name, value in values.items()]
        status, body = self._post(connection, "/feedback", {"labels": labels})
        states = {told["prediction_id"]: told["state"] for told in body["labels"]} if status == 200 else {}
        self.labelled.append(Labelled(values, status, states))
        return status == 200

    def _post(self, connection: http.client.HTTPConnection, path: str, content: object) -> tuple[int, dict[str, Any]]:
        """Status and body; status 0 without an answer."""
        try:
            connection.request("POST", path, json.dumps(content), {"content-type": "application/json"})
            response = connection.getresponse()
            body = json.loads(response.read())
            if self.fresh:
                connection.close()
            return response.status, body
        except (OSError, http.client.HTTPException) as error:
            self.broken.append(repr(error))
            connection.close()
            time.sleep(0.02)
            return 0, {}

    def _choose_row(self, number: int) -> dict[str, Any]:
        return {**ROW, "rooms": 1 + number % 1000} if self.row is None else self.row


def kill_two_workers(server: RealServer, hammer: Hammer) -> None:
    """Two workers of two are killed under load, one after the other has come back; then the load goes on."""
    for _ in range(2):
        seen = len(hammer.answered)
        wait_for(lambda seen=seen: len(hammer.answered) > seen + 200)
        victim = workers_of(server)[0]
        victim.kill()
        wait_for(lambda victim=victim: victim.pid not in {w.pid for w in workers_of(server)})
        wait_for(lambda: len(workers_of(server)) == 2)
