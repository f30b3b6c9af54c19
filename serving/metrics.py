"""Prometheus metrics of the server, aggregated over its workers.

BentoML's own middleware labels every request with its path as it came, so that anybody can grow the metrics without
bound, and costs more than a prediction; these label a request with its route. Import after BentoML has set
PROMETHEUS_MULTIPROC_DIR, which a worker has in its environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096, 16384)

REQUESTS = Counter("tideline_requests", "Answered requests", ["route", "status"])
SECONDS = Histogram("tideline_request_seconds", "Seconds from request to answer", ["route"], buckets=_SECONDS)
ROWS = Counter("tideline_predicted_rows", "Rows predicted", ["task", "version"])
BATCH = Histogram("tideline_batch_rows", "Rows in one session run", buckets=_ROWS)
MODEL = Gauge(
    "tideline_model_info", "The model that is served", ["task", "name", "version"], multiprocess_mode="livemax"
)


class RequestMeter:
    """Counts requests; the label sets are looked up once."""

    def __init__(self) -> None:
        self._children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def observe(self, route: str, status: int, seconds: float) -> None:
        """One answered request; `route` is one of a fixed set."""
        key = route, status
        if key not in self._children:
            self._children[key] = REQUESTS.labels(route, str(status)), SECONDS.labels(route)
        counter, histogram = self._children[key]
        counter.inc()
        histogram.observe(seconds)


class ModelMeter:
    """Counts batches and rows of one model."""

    def __init__(self, model: Mapping[str, str]) -> None:
        MODEL.labels(model["task"], model["name"], model["version"]).set(1)
        self._rows = ROWS.labels(model["task"], model["version"])

    def observe(self, rows: int) -> None:
        """One session run."""
        BATCH.observe(rows)
        self._rows.inc(rows)


def render_metrics() -> bytes:
    """All metrics of all workers in Prometheus' text format."""
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
