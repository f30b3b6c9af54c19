"""The monitor's latest verdict on /metrics: of the champion alone, the same from every worker."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.drift import EVERY_SECONDS
from tests.predlog.samples import START
from tests.serving.kept_verdict import SECOND, keep_verdict
from tests.serving.real_server import RealServer
from tests.serving.toy_registry import ToyRegistry
from tests.wait import wait_for
from tideline.predlog import StoredVerdict, open_store, store_url

Sample = tuple[str, tuple[str, ...]]


def read(server: RealServer) -> dict[Sample, float]:
    """Samples of the monitor's gauges: name, and the labels beside task and version in their order -> value."""
    with httpx.Client(trust_env=False) as fresh:  # a connection of its own: any worker may answer
        families = text_string_to_metric_families(fresh.get(f"{server.url}/metrics").text)
        return {
            (s.name, (s.labels["version"], *(v for k, v in s.labels.items() if k not in ("task", "version")))): s.value
            for family in families
            for s in family.samples
            if s.name.startswith(("tideline_drift", "tideline_monitor"))
        }


@pytest.fixture
def pair(registry: ToyRegistry) -> Iterator[RealServer]:
    """Two workers that follow the registry."""
    with RealServer(["--task", "toy"], registry.home, TIDELINE_SERVING_WORKERS="2") as server:
        yield server


def test_latest_verdict_of_the_champion_is_shown(registry: ToyRegistry) -> None:
    first = registry.versions[0]
    with open_store(store_url(registry.home, {})) as store:
        keep_verdict(store, first, "quiet", 0.0, START - 1_000 * SECOND)
        keep_verdict(store, first)
        keep_verdict(store, registry.versions[1], "quiet")  # is not champion
        keep_verdict(store, first, "quiet", 0.0, START - 500 * SECOND)  # judged later, of older rows
    with RealServer(["--task", "toy"], registry.home) as server:
        wait_for(lambda: read(server))
        found = read(server)
    assert {labels[0] for _, labels in found} == {first}
    missing, income = (first, "column", "bed rooms", "missing_share"), (first, "column", "income", "psi")
    told = {name: found[f"tideline_drift_{name}", missing] for name in ("effect", "threshold", "breached", "alarm")}
    assert told == {"effect": 0.3, "threshold": 0.02, "breached": 1, "alarm": 1}
    assert (found["tideline_drift_effect", income], found["tideline_drift_breached", income]) == (0.05, 0)
    unknown = (first, "answer", "prediction", "ks")  # JSON has no infinity: an effect that is not known has no sample
    assert ("tideline_drift_effect", unknown) not in found and ("tideline_drift_threshold", unknown) in found
    statuses = {s: found["tideline_monitor_status", (first, s)] for s in ("quiet", "watch", "alarm", "undecided")}
    assert statuses == {"quiet": 0, "watch": 0, "alarm": 1, "undecided": 0}
    assert found["tideline_monitor_judged_seconds", (first,)] == START / 1e6 + 1
    errors = {kind: found["tideline_monitor_error", (first, kind)] for kind in ("realised", "estimated", "reference")}
    assert errors == {"realised": 12.5, "estimated": 11.0, "reference": 10.0}
    assert found["tideline_monitor_label_coverage", (first,)] == 0.25
    assert found["tideline_monitor_interval_coverage", (first, "0.8")] == 0.75
    assert found["tideline_monitor_rows", (first,)] == 200


@pytest.mark.slow
def test_every_worker_follows_verdicts_and_versions(registry: ToyRegistry, pair: RealServer) -> None:
    first, second = registry.versions[:2]
    assert read(pair) == {}

    def settles(version: str, status: str) -> bool:
        """Whoever answers says the same: of 20 answers on connections of their own, all do."""
        return all(read(pair).get(("tideline_monitor_status", (version, status))) == 1 for _ in range(20))

    with open_store(store_url(registry.home, {})) as store:
        keep_verdict(store, first)
        wait_for(lambda: settles(first, "alarm"), 3 * EVERY_SECONDS)
        keep_verdict(store, first, "quiet", 0.0, START + 300 * SECOND)
        wait_for(lambda: settles(first, "quiet"), 3 * EVERY_SECONDS)
        registry.point_to(1)
        wait_for(lambda: pair.client.get("/model").json()["version"] == second)
        wait_for(lambda: all(read(pair) == {} for _ in range(20)))  # what was known of the first is gone
        keep_verdict(store, second, "watch", last=START + 600 * SECOND)
        wait_for(lambda: settles(second, "watch"), 3 * EVERY_SECONDS)
    assert {labels[0] for _, labels in read(pair)} == {second}
    assert "Traceback" not in pair.log


@pytest.mark.slow
def test_verdict_that_cannot_be_read_is_said_once_and_no_gauge(registry: ToyRegistry) -> None:
    with open_store(store_url(registry.home, {})) as store:
        store.save_verdict(
            StoredVerdict("toy", registry.versions[0], START, None, START, 200, "quiet", '{"rows": "many"}')
        )
    with RealServer(["--task", "toy"], registry.home) as server:
        wait_for(lambda: "cannot be shown as gauges" in server.log)
        assert read(server) == {} and server.client.get("/metrics").status_code == 200
