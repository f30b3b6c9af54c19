"""Shadows predict beside the answers, once these are in the log: in a thread of their own, and never answer themselves.

Each of their rows is logged with the prediction that it was made beside as its request, whose label counts for both.
When more waits than may, rows are dropped and counted: a shadow never slows an answer down. A large request is taken
while nothing else waits, whatever its size.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import msgspec

from serving.batcher import Turn
from serving.live_model import LiveModel
from serving.log import PredictionLog
from serving.metrics import SHADOW_ROWS
from serving.schema import Row

CAPACITY = 5_000  # rows that may wait together; a request alone may have more

logger = logging.getLogger("bentoml.tideline")


@dataclass(frozen=True, slots=True)
class Beside:
    """Rows that were answered: the version that did, their prediction ids, how they came, whose they are."""

    answerer: LiveModel
    shadows: Sequence[LiveModel]
    rows: Sequence[Row]
    ids: Sequence[str]
    route: str
    key: str | None


class ShadowRunner:
    """Predicts what is offered to it, one request after the other. `close` it before the log."""

    def __init__(self, log: PredictionLog) -> None:
        self._log = log
        self._waiting: queue.SimpleQueue[Beside | None] = queue.SimpleQueue()
        self._rows = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, beside: Beside) -> None:
        """Let the shadows predict these rows, unless too many wait."""
        count = len(beside.rows)
        with self._lock:
            if self._rows and self._rows + count > CAPACITY:
                for shadow in beside.shadows:
                    SHADOW_ROWS.labels(shadow.version, "dropped").inc(count)
                return
            self._rows += count
        self._waiting.put(beside)

    def close(self) -> None:
        """Finish what waits."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (beside := self._waiting.get()) is not None:
            for shadow in beside.shadows:
                self._predict(beside, shadow)
            with self._lock:
                self._rows -= len(beside.rows)

    def _predict(self, beside: Beside, shadow: LiveModel) -> None:
        try:
            rows = beside.rows
            if shadow.manifest.columns != beside.answerer.manifest.columns:
                rows = shadow.decoder.decode(msgspec.json.encode({"rows": rows}))
            start = perf_counter()
            answers = shadow.predict(rows)
            latency = int((perf_counter() - start) * 1e6)
            turn = Turn(shadow, "shadow", beside.key)
            self._log.write_beside(turn, rows, answers, beside.ids, beside.route, latency)
        except Exception as error:  # whatever it is, it is the shadow's trouble alone
            SHADOW_ROWS.labels(shadow.version, "failed").inc(len(beside.rows))
            logger.warning("shadow %s: %s: %s", shadow.version, type(error).__name__, error)
        else:
            SHADOW_ROWS.labels(shadow.version, "stored").inc(len(beside.rows))
