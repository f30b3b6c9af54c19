"""Rules and dashboards against Prometheus itself, and against the metrics that a real server has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from serving import metrics
from tests.machine import find_program
from tests.serving.kept_verdict import keep_verdict
from tests.serving.real_server import ROOT, RealServer, free_port
from tests.serving.small_bundle import ROW
from tests.serving.toy_registry import ToyRegistry
from tests.wait import wait_for
from tideline.predlog import open_store, store_url

FOLDER = ROOT / "infra" / "prometheus"
RULES = sorted(FOLDER.glob("rules/*.yml"))
DASHBOARDS = sorted((ROOT / "infra" / "grafana" / "dashboards").glob("*.json"))

RARE = {"tideline_canary_failures"}  # on the page from the first failure on
_PARTS = ("_total", "_bucket", "_sum", "_count")


def list_expressions() -> list[str]:
    """Every PromQL expression of rules and dashboards."""
    rules = [
        rule for place in RULES for group in yaml.safe_load(place.read_text())["groups"] for rule in group["rules"]
    ]
    boards = [json.loads(place.read_text()) for place in DASHBOARDS]
    targets = [target["expr"] for board in boards for panel in board["panels"] for target in panel["targets"]]
    return [rule["expr"] for rule in rules] + targets


def list_metrics() -> set[str]:
    """The server's metrics that they name."""
    named = {name for text in list_expressions() for name in re.findall(r"(?<![\w:])tideline_\w+(?![\w:])", text)}
    return {re.sub("(" + "|".join(_PARTS) + ")$", "", name) for name in named}


@pytest.mark.parametrize("arguments", [["check", "rules"], ["test", "rules"]], ids=" ".join)
def test_promtool_has_nothing_against_the_rules(arguments: list[str]) -> None:
    files = RULES if "check" in arguments else sorted(FOLDER.glob("tests/*.yml"))
    assert files
    done = subprocess.run([find_program("prometheus", "promtool"), *arguments, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test_and_a_word_on_what_to_do() -> None:
    groups = [group for place in RULES for group in yaml.safe_load(place.read_text())["groups"]]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    cases = [case for place in FOLDER.glob("tests/*.yml") for case in yaml.safe_load(place.read_text())["tests"]]
    fired = {test["alertname"] for case in cases for test in case["alert_rule_test"] if test["exp_alerts"]}
    assert alerts == fired
    told = (ROOT / "docs" / "operations.md").read_text()
    assert {alert for alert in alerts if f"`{alert}`" not in told} == set()


def test_dashboards_are_provisioned_and_whole() -> None:
    provisioning = ROOT / "infra" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "tideline.yml").read_text())["providers"]
    mounts = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text())["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in mounts
    for place in DASHBOARDS:
        board = json.loads(place.read_text())
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        for panel in board["panels"]:
            assert panel["datasource"]["uid"] == source["uid"] and panel["targets"]
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_every_metric_that_is_named_is_on_the_servers_page(registry: ToyRegistry) -> None:
    with open_store(store_url(registry.home, {})) as store:
        keep_verdict(store, registry.versions[0])
    with RealServer(["--task", "toy"], registry.home) as server:
        check_names(server)


def check_names(server: RealServer) -> None:
    told = server.predict([ROW]).json()
    label = {"prediction_id": told["prediction_ids"][0], "label": 300.0}
    assert server.client.post("/feedback", json={"labels": [label]}).json()["labels"][0]["state"] == "accepted"
    named = list_metrics()
    assert len(named) > 10
    wait_for(lambda: named - read_names(server) <= RARE)
    declared = {metric.name for metric in metrics.REGISTRY.collect()}
    assert declared >= RARE


def read_names(server: RealServer) -> set[str]:
    """The metrics on a server's page."""
    found = re.findall(r"^# TYPE (tideline_\w+) ", server.client.get("/metrics").text, flags=re.MULTILINE)
    return {name.removesuffix("_total") for name in found}


class Prometheus:
    """Debian's prometheus with the project's own configuration, but for the address that it scrapes."""

    def __init__(self, folder: Path, target: str) -> None:
        port = free_port()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False)
        shutil.copytree(FOLDER / "rules", folder / "rules")
        config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        serving, own = config["scrape_configs"]
        assert serving["static_configs"][0]["targets"] == ["serving:3000"]
        serving["static_configs"][0]["targets"] = [target]
        own["static_configs"][0]["targets"] = [f"127.0.0.1:{port}"]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._said = (folder / "said").open("w+")
        self.process = subprocess.Popen(
            [find_program("prometheus", "prometheus"), f"--config.file={folder}/prometheus.yml",
             f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"],
            cwd=folder, stdout=self._said, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        told = self.client.get(f"/api/v1/{path}", params=parameters).json()
        assert told["status"] == "success", told
        return told["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series."""
        return [(r["metric"], float(r["value"][1])) for r in self.get("query", query=expression)["result"]]

    def is_ready(self) -> bool:
        assert self.process.poll() is None, Path(self._said.name).read_text()
        try:
            return bool(self.client.get("/-/ready").status_code == 200)
        except httpx.TransportError:
            return False

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.client.close()
        self._said.close()


@pytest.fixture
def prometheus(server: RealServer, tmp_path: Path) -> Iterator[Prometheus]:
    running = Prometheus(tmp_path, f"127.0.0.1:{server.port}")
    try:
        wait_for(running.is_ready)
        yield running
    finally:
        running.close()


@pytest.mark.slow
def test_prometheus_scrapes_a_server_and_evaluates_the_rules(server: RealServer, prometheus: Prometheus) -> None:
    wait_for(lambda: {t["health"] for t in prometheus.get("targets")["activeTargets"]} == {"up"})
    groups = {group["name"]: group for group in prometheus.get("rules")["groups"]}
    wanted = [group["name"] for place in RULES for group in yaml.safe_load(place.read_text())["groups"]]
    assert set(groups) == set(wanted)
    counted = 'sum(tideline_requests_total{task="housing", route="/predict", status="200"})'
    server.predict([ROW])
    before = read_count(server)
    for _ in range(25):
        assert server.predict([ROW]).status_code == 200
    assert server.predict([{**ROW, "rooms": "many"}]).status_code == 422
    wait_for(lambda: read_count(server) == before + 25)  # counts are brought together several times a second
    wait_for(lambda: [value for _, value in prometheus.query(counted)] == [before + 25])
    (model,) = prometheus.query('tideline_model_info{job="tideline-serving"} == 1')
    assert model[0]["task"] == "toy", "the server's own label is kept"
    wait_for(lambda: prometheus.query("task:tideline_requests:rate5m"))
    wait_for(
        lambda: all(rule["health"] == "ok" for group in prometheus.get("rules")["groups"] for rule in group["rules"])
    )
    firing = [
        alert["labels"]["alertname"] for alert in prometheus.get("alerts")["alerts"] if alert["state"] == "firing"
    ]
    assert firing == []


@pytest.mark.slow
def test_every_expression_of_the_dashboards_can_be_asked(prometheus: Prometheus) -> None:
    for text in list_expressions():
        expression = text.replace("$__rate_interval", "1m").replace("$task", ".*")
        prometheus.get("query", query=expression, time=str(time.time()))


def read_count(server: RealServer) -> float:
    """Predictions that were answered, as the server's own page has it."""
    page = server.client.get("/metrics").text
    found = re.findall(r'^tideline_requests_total\{route="/predict",status="200"\} (\S+)$', page, flags=re.MULTILINE)
    return float(found[0]) if found else 0.0
