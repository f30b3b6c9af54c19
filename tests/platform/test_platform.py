"""`make up` as a person has it: real Prefect, server and Evidently, the page in a real browser."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
import yaml

from pipelines.platform.__main__ import run_platform
from pipelines.platform.ports import find_holder
from tests.browser import Browser
from tests.platform.test_supervisor import still_running
from tests.predlog.postgres import PostgresServer
from tests.serving.real_server import clean_environment, free_port
from tests.serving.toy_registry import ToyRegistry
from tests.small_task import RENT, ROOT, ship, small_params, write_project
from tests.wait import wait_for
from tideline.contracts import TidelineError
from tideline.monitor.records import Check, Errors, WindowVerdict
from tideline.predlog import StoredVerdict, open_store, store_url
from tideline.registry import promote

TASK = "housing"  # the toy's columns under the name of a task that there is
LISTENING = {"prefect", f"serving-{TASK}", "evidently"}
SERVICES = LISTENING | {"deployments"}


def start(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One that is expected to end by itself."""
    command = [sys.executable, "-m", "pipelines.platform", *arguments]
    return subprocess.run(command, cwd=home, env=clean_environment(home), capture_output=True, text=True, timeout=60)


class Platform:
    """A platform in a project of its own, which is there already, on free ports. variables: of its environment."""

    def __init__(self, home: Path, **variables: str) -> None:
        self.home = home
        self.ports = {name: free_port() for name in ("page", *sorted(LISTENING))}
        self.arguments = ["--task", TASK]
        for name, port in self.ports.items():
            self.arguments += ["--port", f"{name}={port}"]
        self.url = f"http://127.0.0.1:{self.ports['page']}"
        self.client = httpx.Client(base_url=self.url, timeout=10, trust_env=False)
        self.person = home / "person"  # where a program that minds no setting would write
        self.person.mkdir()
        environment = {**clean_environment(home), "HOME": str(self.person), **variables}
        with (home / "said").open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.platform", *self.arguments],
                cwd=home, env=environment, stdout=said, stderr=said,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return (self.home / "said").read_text()

    def services(self) -> dict[str, dict[str, Any]]:
        """By name, as the page is told; none before it is up."""
        with suppress(httpx.TransportError):
            return {s["name"]: s for s in self.client.get("/status.json").json()["services"]}
        return {}

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.said
        states = {name: s["state"] for name, s in self.services().items()}
        return states.keys() >= SERVICES and all(states[name] == "ready" for name in SERVICES)

    def below(self) -> list[psutil.Process]:
        """All of its processes, but itself."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


def make_toy(home: Path) -> ToyRegistry:
    """A project with a champion, a canary and an alarm."""
    registry = ToyRegistry(home, TASK)
    registry.challenge(1, "canary", share=0.2)
    (home / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    save_verdict(home, registry.versions[0])
    return registry


def make_watchable(home: Path) -> str:
    """A project whose champion keeps what the monitor asks for, and whose training rows are there; its version. Its
    flows run only when somebody asks."""
    task = replace(RENT, name=TASK)
    layout = write_project(home, task)
    params = yaml.safe_load((home / "params.yaml").read_text())
    params["flows"]["schedules"] = dict.fromkeys(params["flows"]["schedules"], "")
    (home / "params.yaml").write_text(yaml.safe_dump(params))
    ship(layout, task)
    return promote(task, small_params(), layout).version


def save_verdict(home: Path, version: str) -> None:
    """An alarm, in the project's store."""
    now = time.time_ns() // 1000
    check = Check("column", "income", "psi", "drift", 0.4, 1e-9, 0.4, 0.2, 1e-8, breached=True, windows=3, alarm=True)
    verdict = WindowVerdict(TASK, version, now, 500, now, now, "alarm", (check,), Errors(), 0.01, 3, ("psi",))
    (home / "store").mkdir()
    with open_store(store_url(home, {})) as store:
        store.save_verdict(StoredVerdict(TASK, version, now, now, now, 500, "alarm", verdict.to_json()))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ToyRegistry:
    return make_toy(tmp_path_factory.mktemp("platform"))


@pytest.fixture(scope="module")
def platform(registry: ToyRegistry) -> Iterator[Platform]:
    running = Platform(registry.home)
    try:
        wait_for(running.is_ready, 120)
        yield running
    finally:
        running.close()


@pytest.mark.slow
def test_everything_answers_and_nothing_outside_the_project_is_written(platform: Platform) -> None:
    for name, path in (("prefect", "/api/health"), (f"serving-{TASK}", "/readyz"), ("evidently", "/api/projects")):
        with httpx.Client(trust_env=False, timeout=10) as client:
            assert client.get(f"http://127.0.0.1:{platform.ports[name]}{path}").status_code == 200
    for name in SERVICES:
        assert f"{name:<18} ready after " in platform.said
        assert (platform.home / ".tideline" / "platform" / f"{name}.log").stat().st_size > 0
    assert list((platform.home / ".tideline" / "prefect").glob("*.db"))
    wait_for(lambda: "services are ready" in platform.said)
    kept = {str(place.relative_to(platform.person)) for place in platform.person.rglob("*") if place.is_file()}
    assert not {name for name in kept if "prefect" in name or "bentoml" in name or "evidently" in name}, kept


@pytest.mark.slow
@pytest.mark.browser
def test_the_page_shows_services_champion_and_verdict_and_what_is_down(
    platform: Platform, registry: ToyRegistry, chromium: str, tmp_path: Path
) -> None:
    with Browser(chromium, tmp_path / "profile") as browser:
        browser.open(platform.url)
        browser.wait_for("document.querySelectorAll('.tile.ready').length >= 3")
        links = browser.run("[...document.querySelectorAll('.tile b a')].map(a => a.href)")
        assert {f"http://127.0.0.1:{platform.ports[name]}/" for name in LISTENING} <= set(links)
        shown = browser.text("#tasks")
        for text in (registry.versions[0], registry.versions[1], "20 %", "alarm", "income: psi"):
            assert text in shown
        assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
        asked = browser.run("performance.getEntriesByType('resource').map(e => e.name)")
        assert asked and all(url.startswith(platform.url) for url in asked)
        evidently = next(p for p in platform.below() if p.cmdline()[1:3] == ["-m", "evidently.cli"])
        evidently.suspend()
        browser.wait_for("document.querySelector('#service-evidently.failing')", 30)
        assert "does not answer" in browser.text("#service-evidently")
        evidently.resume()
        browser.wait_for("document.querySelector('#service-evidently.ready')", 30)
        evidently.kill()
        browser.wait_for("!document.querySelector('#service-evidently.ready')")
        browser.wait_for("document.querySelector('#service-evidently.ready')", 60)
        assert "started 2 times" in browser.text("#service-evidently")


@pytest.mark.slow
def test_the_page_answers_nobody_who_calls_it_by_another_name(platform: Platform) -> None:
    assert platform.client.get("/status.json", headers={"host": "tideline.example"}).status_code == 403
    assert platform.client.get("/../params.yaml").status_code == 404
    assert platform.client.get("/reports/../params.yaml").status_code == 404
    page = platform.client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "https://" not in page.text and "src=" not in page.text


@pytest.mark.slow
def test_a_second_one_is_told_and_down_leaves_nothing(platform: Platform) -> None:
    done = start(platform.home, *platform.arguments)
    assert done.returncode == 1
    assert f"already running: {platform.url} (process {platform.process.pid}); `make down` stops it" in done.stderr
    below = platform.below()
    assert len(below) >= 2 * len(SERVICES)
    done = start(platform.home, "--down")
    assert (done.returncode, done.stdout.strip()) == (0, "the platform has ended"), done.stderr
    assert platform.process.wait(10) == 0
    assert not still_running(below)
    assert platform.said.rstrip().endswith("nothing of it runs any more")
    for port in platform.ports.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert start(platform.home, "--down").stdout.strip() == "no platform is running"


@pytest.mark.slow
def test_kill_9_of_a_whole_platform_leaves_nothing(tmp_path: Path) -> None:
    make_toy(tmp_path)
    platform = Platform(tmp_path)
    try:
        wait_for(platform.is_ready, 120)
        below = platform.below()
        platform.process.kill()
        platform.process.wait()
        wait_for(lambda: not still_running(below), 40)
    finally:
        platform.close()


@pytest.mark.slow
def test_with_its_store_on_postgresql_answers_and_verdicts_are_there(tmp_path: Path, postgres: PostgresServer) -> None:
    version = make_watchable(tmp_path)
    url = postgres.create_store()
    platform = Platform(tmp_path, TIDELINE_STORE_URL=url)
    try:
        wait_for(platform.is_ready, 120)
        with httpx.Client(trust_env=False, timeout=30) as client:
            rows = [{"size": 40.0 + i, "floor": i, "kind": "b", "day": "1997-06-01"} for i in range(3)]
            answer = client.post(f"http://127.0.0.1:{platform.ports[f'serving-{TASK}']}/predict", json={"rows": rows})
            assert answer.status_code == 200, answer.text
            prefect = f"http://127.0.0.1:{platform.ports['prefect']}/api"
            deployment = client.get(f"{prefect}/deployments/name/monitoring/{TASK}").json()["id"]
            run = client.post(f"{prefect}/deployments/{deployment}/create_flow_run", json={}).json()["id"]

            def has_ended() -> bool:
                state = client.get(f"{prefect}/flow_runs/{run}").json()["state"]
                assert state["type"] not in ("FAILED", "CRASHED", "CANCELLED"), state
                return bool(state["type"] == "COMPLETED")

            wait_for(has_ended, 120)
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT prediction_id, task, version, role FROM predictions").fetchall()
            judged = connection.execute("SELECT task, version, rows, status FROM verdicts").fetchall()
        assert [row[1:] for row in found] == [(TASK, version, "champion")] * 3
        assert {row[0] for row in found} == set(answer.json()["prediction_ids"])
        assert judged == [(TASK, version, 3, "undecided")]  # three rows are too few to say more
        wait_for(lambda: shown_verdict(platform) == ("undecided", version, 3))
        assert not (tmp_path / "store" / "predictions.db").exists()
    finally:
        platform.close()


def shown_verdict(platform: Platform) -> tuple[str, str, int] | None:
    """Status, version and rows of the verdict that the page shows."""
    (task,) = platform.client.get("/status.json").json()["tasks"]
    verdict = task.get("verdict")
    return None if verdict is None else (verdict["status"], verdict["version"], verdict["rows"])


def test_a_taken_port_is_named_with_its_holder_and_the_way_out(tmp_path: Path) -> None:
    ToyRegistry(tmp_path, TASK)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"process {psutil.Process().pid}" in find_holder(port)
        done = start(tmp_path, "--task", TASK, "--port", f"prefect={port}")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"127.0.0.1:{port}, wanted for prefect, is held by process {psutil.Process().pid}:" in done.stderr
    assert "make up ARGS='--port prefect=" in done.stderr


@pytest.mark.parametrize(
    ("tasks", "ports", "expected"),
    [
        (["housing"], {}, "housing has no champion to serve; build and promote one: make run TASK=housing"),
        (["hous"], {}, "'hous'"),
        ([], {"grafana": 1}, "no service 'grafana' to give a port; there are: page, prefect, evidently"),
    ],
)
def test_what_cannot_be_started_is_said(tmp_path: Path, tasks: list[str], ports: dict[str, int], expected: str) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    with pytest.raises(TidelineError, match=expected):
        run_platform(tmp_path, tasks, ports)
