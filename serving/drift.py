"""The monitor's latest verdict on the champion as gauges.

Every worker reads it from the store by itself and shows what it read: nothing is to be added up over workers, and a
version that is champion no more is gone from the next answer on, which a gauge in a shared file never is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.versions import Versions
from tideline.contracts import TidelineError
from tideline.predlog import SKEW, Store, StoreUnavailable

EVERY_SECONDS = 10.0
STATUSES = ("quiet", "watch", "alarm", "undecided")


class Check(msgspec.Struct, frozen=True):
    """Of tideline.monitor.records.Check what the gauges show; the module itself needs scipy."""

    part: str
    subject: str
    test: str
    effect: float | None
    threshold: float
    breached: bool
    alarm: bool


class Errors(msgspec.Struct, frozen=True):
    """Of tideline.monitor.records.Errors."""

    labelled: int = 0
    realised: float | None = None
    reference: float | None = None
    estimated: float | None = None
    coverage: dict[str, float] = {}


class Verdict(msgspec.Struct, frozen=True):
    """Of tideline.monitor.records.WindowVerdict."""

    task: str
    version: str
    judged: int
    rows: int
    status: str
    checks: tuple[Check, ...]
    errors: Errors


class DriftGauges(Collector):
    """`act` is called several times a second, in a thread beside the event loop; `collect` from any thread."""

    def __init__(self, store: Store, versions: Versions) -> None:
        self._store, self._versions = store, versions
        self._version = ""
        self._known: int | None = None  # number of its verdict in the store
        self._verdict: Verdict | None = None
        self._due = 0.0

    def act(self) -> None:
        """Read the champion's latest verdict, if it is time or another version is champion, and there is a newer one.

        While the store is away, the last one stays. Raises TidelineError for a verdict that cannot be read, once.
        """
        champion, now = self._versions.current.champion.model, time.monotonic()
        version = champion.version
        if version == self._version and now < self._due:
            return
        if version != self._version:
            self._version, self._known = version, None
        self._due = now + EVERY_SECONDS
        try:
            found = self._store.find_verdict(champion.task, version, self._known, time.time_ns() // 1000 + SKEW)
        except StoreUnavailable:
            return  # the log itself says so
        if found is None:
            return
        self._known = found[0]
        try:
            self._verdict = msgspec.json.decode(found[1].verdict, type=Verdict)
        except msgspec.MsgspecError as error:
            self._verdict = None
            raise TidelineError(f"verdict {found[0]} of {version} cannot be shown as gauges: {error}") from None

    def collect(self) -> Iterator[Metric]:
        """The gauges of the version that is champion now; none if it was never judged."""
        verdict = self._verdict
        if verdict is not None and verdict.version == self._versions.current.champion.model.version:
            yield from make_gauges(verdict)


def make_gauges(verdict: Verdict) -> Iterator[Metric]:
    """A verdict as metrics; a figure that is not known has no sample."""
    own = [verdict.task, verdict.version]

    def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(name, text, labels=["task", "version", *labels])

    checked = ("part", "subject", "test")
    effect = gauge("tideline_drift_effect", "Effect of a check of the latest window", *checked)
    threshold = gauge("tideline_drift_threshold", "Effect from which on it is breached", *checked)
    breached = gauge("tideline_drift_breached", "1 if it is breached: large enough, and no chance", *checked)
    alarm = gauge("tideline_drift_alarm", "1 if it is an alarm: breached for long enough", *checked)
    for check in verdict.checks:
        labels = [*own, check.part, check.subject, check.test]
        if check.effect is not None:
            effect.add_metric(labels, check.effect)
        threshold.add_metric(labels, check.threshold)
        breached.add_metric(labels, check.breached)
        alarm.add_metric(labels, check.alarm)
    yield from (effect, threshold, breached, alarm)
    status = gauge("tideline_monitor_status", "1 for the status of the latest window, 0 for the others", "status")
    for name in STATUSES:
        status.add_metric([*own, name], verdict.status == name)
    yield status
    judged = gauge("tideline_monitor_judged_seconds", "When the latest window was judged, in seconds since 1970")
    judged.add_metric(own, verdict.judged / 1e6)
    rows = gauge("tideline_monitor_rows", "Rows of the latest window")
    rows.add_metric(own, verdict.rows)
    error = gauge(
        "tideline_monitor_error", "Mean absolute error (classes: rate): realised, estimated, at training", "kind"
    )
    errors = verdict.errors
    for kind, value in (
        ("realised", errors.realised), ("estimated", errors.estimated), ("reference", errors.reference)
    ):  # fmt: skip
        if value is not None:
            error.add_metric([*own, kind], value)
    coverage = gauge("tideline_monitor_label_coverage", "Share of the latest window's rows that have a label")
    if verdict.rows:
        coverage.add_metric(own, errors.labelled / verdict.rows)
    inside = gauge("tideline_monitor_interval_coverage", "Share of its labels inside of their intervals", "level")
    for level, share in errors.coverage.items():
        inside.add_metric([*own, level], share)
    yield from (judged, rows, error, coverage, inside)
