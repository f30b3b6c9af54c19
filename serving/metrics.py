"""Prometheus metrics of the server, aggregated over its workers.

BentoML's own middleware labels every request with its path as it came, so that anybody can grow the metrics without
bound, and costs more than a prediction; these label a request with its route. Import after BentoML has set
PROMETHEUS_MULTIPROC_DIR, which a worker has in its environment.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections import Counter as Counts
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from serving.batcher import Model
    from tideline.predlog import LabelAnswer, WriterState

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LAGS = (1.0, 10.0, 60.0, 600.0, 3600.0, 6 * 3600.0, 86400.0, 3 * 86400.0, 7 * 86400.0, 30 * 86400.0, 90 * 86400.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096, 16384)

REQUESTS = Counter("tideline_requests", "Answered requests", ["route", "status"])
SECONDS = Histogram(
    "tideline_request_seconds", "Seconds from request to answer", ["route", "version"], buckets=_SECONDS
)
ROWS = Counter("tideline_predicted_rows", "Rows predicted", ["task", "version"])
BATCH = Histogram("tideline_batch_rows", "Rows in one session run", buckets=_ROWS)
MODEL = Gauge(
    "tideline_model_info", "The model that is served", ["task", "name", "version"], multiprocess_mode="livemax"
)
SWITCHES = Counter("tideline_version_switches", "Versions that took the place of another", ["task"])
LOAD_FAILURES = Counter("tideline_version_load_failures", "Versions that did not load", ["task"])
CANARY_FAILURES = Counter(
    "tideline_canary_failures", "Requests that a canary failed and the champion answered", ["version"]
)
WITHDRAWN = Counter("tideline_challengers_withdrawn", "Challengers that were withdrawn as worse live", ["task"])
SHADOW_ROWS = Counter(
    "tideline_shadow_rows", "Rows of shadows: stored, failed, or dropped as too many waited", ["version", "outcome"]
)
LOG_PENDING = Gauge("tideline_log_pending", "Records that wait for the store", multiprocess_mode="livesum")
LOG_CONNECTED = Gauge("tideline_log_connected", "1 if every worker reaches the store", multiprocess_mode="livemin")
LOG_RECORDS = Counter("tideline_log_records", "Logged rows: stored, journalled, replayed, or failed", ["outcome"])
LABELS = Counter("tideline_labels", "Labels by what became of them", ["state", "version"])
LABEL_LAG = Histogram("tideline_label_lag_seconds", "From prediction to its first label", buckets=_LAGS)


class RequestMeter:
    """Counts requests. What was observed reaches the metrics with the next `sync`: three writes to the shared files a
    request cost a fifth of its time in the application, and they can be added up."""

    def __init__(self) -> None:
        self._seen: deque[tuple[str, int, str, float]] = deque()
        self._lock = threading.Lock()

    def observe(self, route: str, status: int, version: str, seconds: float) -> None:
        """One answered request; `route` is one of a fixed set, `version` the one that answered, if any did."""
        self._seen.append((route, status, version, seconds))

    def sync(self) -> None:
        """Add what was observed since the last call. From any thread."""
        with self._lock:
            counts: Counts[tuple[str, int]] = Counts()
            times: dict[tuple[str, str], list[float]] = {}
            for _ in range(len(self._seen)):
                route, status, version, seconds = self._seen.popleft()
                counts[route, status] += 1
                times.setdefault((route, version), []).append(seconds)
            for (route, status), count in counts.items():
                REQUESTS.labels(route, str(status)).inc(count)
            for labels, values in times.items():
                _observe_all(SECONDS.labels(*labels), values)


def _observe_all(histogram: Histogram, values: Sequence[float]) -> None:
    """What `observe` does with each of them; the library has no way to add many."""
    histogram._sum.inc(sum(values))
    for place, count in Counts(bisect_left(histogram._upper_bounds, value) for value in values).items():
        histogram._buckets[place].inc(count)


class ModelMeter:
    """Counts batches and rows by model."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Counter] = {}

    def observe(self, model: Model, rows: int) -> None:
        """One session run."""
        key = model.task, model.version
        if key not in self._rows:
            self._rows[key] = ROWS.labels(*key)
        BATCH.observe(rows)
        self._rows[key].inc(rows)


class VersionMeter:
    """Says which version is served, and counts changes."""

    def switch(self, old: Mapping[str, str] | None, new: Mapping[str, str]) -> None:
        """`new` (task, name, version) is served from now on, instead of `old`."""
        if old is not None:
            MODEL.labels(**old).set(0)
            SWITCHES.labels(new["task"]).inc()
        MODEL.labels(**new).set(1)
        LOAD_FAILURES.labels(new["task"])  # so that it is there to be watched, at 0
        WITHDRAWN.labels(new["task"])

    def fail(self, task: str) -> None:
        """A version did not load."""
        LOAD_FAILURES.labels(task).inc()


class LogMeter:
    """Brings the writer's counts into the metrics, and counts labels. `sync` is for one thread at a time."""

    def __init__(self) -> None:
        self._outcomes = {name: LOG_RECORDS.labels(name) for name in ("stored", "journalled", "replayed", "failed")}
        self._before = dict.fromkeys(self._outcomes, 0)

    def sync(self, state: WriterState) -> None:
        """Take over what has happened since the last call."""
        LOG_PENDING.set(state.pending)
        LOG_CONNECTED.set(state.connected)
        for name, counter in self._outcomes.items():
            total: int = getattr(state, name)
            counter.inc(total - self._before[name])
            self._before[name] = total

    def observe_labels(self, answers: Sequence[LabelAnswer]) -> None:
        """What became of the labels of one request."""
        for answer in answers:
            LABELS.labels(answer.state, answer.version).inc()
            if answer.state == "accepted" and answer.lag is not None:
                LABEL_LAG.observe(answer.lag / 1e6)


class _WithCoverage(Collector):
    """The metrics of another collector, and the share of predictions that have a label, by version.

    Both are counted since the server's start: labels of earlier predictions count, too, so that it may exceed 1.
    """

    def __init__(self, inner: Collector) -> None:
        self._inner = inner

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        predicted: dict[str, float] = {}
        labelled: dict[str, float] = {}
        for metric in self._inner.collect():
            yield metric
            for sample in metric.samples:
                if sample.name == "tideline_predicted_rows_total":
                    predicted[sample.labels["version"]] = sample.value
                elif sample.name == "tideline_labels_total" and sample.labels["state"] == "accepted":
                    labelled[sample.labels["version"]] = sample.value
        coverage = GaugeMetricFamily(
            "tideline_label_coverage", "Labelled share of the predicted rows since the start", labels=["version"]
        )
        for version, rows in predicted.items():
            if rows:
                coverage.add_metric([version], labelled.get(version, 0.0) / rows)
        yield coverage


def forget_dead_workers() -> None:
    """Remove the gauges of workers that were killed: what they had pending, and which version they served."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    for file in Path(folder).glob("gauge_live*_*.db") if folder else ():
        pid = file.stem.rpartition("_")[2]
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            file.unlink(missing_ok=True)
        except (PermissionError, ValueError):
            continue


def render_metrics(*own: Collector) -> bytes:
    """All metrics of all workers in Prometheus' text format, and those of collectors that this worker answers for."""
    registry = CollectorRegistry()
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry.register(_WithCoverage(REGISTRY))
    else:
        workers = CollectorRegistry()
        registry.register(_WithCoverage(MultiProcessCollector(workers)))  # type: ignore[no-untyped-call]
    for collector in own:
        registry.register(collector)
    return generate_latest(registry)
