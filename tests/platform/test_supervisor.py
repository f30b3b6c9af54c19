"""Services under the supervisor: started in order, started again, stopped with all they started, even by kill -9."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import psutil
import pytest

from pipelines.platform.lock import FOLDER, hold_platform, stop_platform
from pipelines.platform.services import Service, ask_http
from pipelines.platform.supervisor import Supervisor
from tests.platform.small_services import make_service
from tests.serving.real_server import ROOT, clean_environment, free_port
from tests.wait import wait_for
from tideline.contracts import TidelineError


class SmallPlatform:
    """Two services in a process of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        ports = [str(free_port()), str(free_port())]
        with (root / "said").open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.platform.small_services", str(root), *ports],
                cwd=ROOT, env=clean_environment(root), stdout=said, stderr=said,
            )  # fmt: skip
        wait_for(lambda: "all ready" in self.said)
        # Guard, service and the service's own process, twice.
        wait_for(lambda: len(psutil.Process(self.process.pid).children(recursive=True)) == 6)
        self.below = psutil.Process(self.process.pid).children(recursive=True)

    @property
    def said(self) -> str:
        return (self.root / "said").read_text()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[SmallPlatform]:
    platform = SmallPlatform(tmp_path)
    yield platform
    if platform.process.poll() is None:
        platform.process.kill()
        platform.process.wait()
    wait_for(lambda: not still_running(platform.below))


def still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended; one that nobody has asked for its exit code yet has."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def test_they_start_in_order_and_stop_without_a_trace(platform: SmallPlatform) -> None:
    first, second = (platform.said.index(f"{name} ") for name in ("s0", "s1"))
    assert first < second
    platform.process.send_signal(signal.SIGTERM)
    assert platform.process.wait(30) == 0
    assert not still_running(platform.below)
    for name in ("s0", "s1"):
        assert "asked to end" in (platform.root / FOLDER / f"{name}.log").read_text()
    assert stop_platform(platform.root) == "no platform is running"


def test_nothing_is_left_when_the_supervisor_is_killed(platform: SmallPlatform) -> None:
    platform.process.kill()
    platform.process.wait()
    wait_for(lambda: not still_running(platform.below))
    assert "asked to end" in (platform.root / FOLDER / "s1.log").read_text()


@pytest.mark.slow
def test_a_service_ends_when_its_guard_is_killed_and_starts_again(platform: SmallPlatform) -> None:
    guards = psutil.Process(platform.process.pid).children()
    service = guards[0].children()[0]
    stubborn = service.children()[0]
    guards[0].kill()
    wait_for(lambda: not still_running([service]))
    stubborn.kill()  # what ignores SIGTERM survives its guard's kill -9, the one fault that nobody is left to mend
    wait_for(lambda: "ended with code -9, starts again within 1 s" in platform.said)


@pytest.mark.slow
def test_down_stops_it_and_a_second_one_is_told_of_it(platform: SmallPlatform) -> None:
    expected = rf"already running: http://127.0.0.1:1 \(process {platform.process.pid}\); `make down` stops it"
    with pytest.raises(TidelineError, match=expected), hold_platform(platform.root, "http://127.0.0.1:2"):
        pass
    assert stop_platform(platform.root) == "the platform has ended"
    assert not still_running(platform.below)


@pytest.mark.slow
def test_the_next_one_waits_for_services_of_a_killed_one(platform: SmallPlatform) -> None:
    platform.process.kill()
    platform.process.wait()
    with hold_platform(platform.root, "http://127.0.0.1:2"):
        assert not still_running(platform.below)


@pytest.mark.slow
def test_what_ends_is_started_again_later_and_later_and_says_why(tmp_path: Path) -> None:
    said: list[str] = []
    port = free_port()
    script = "import sys; print('no such table: houses'); sys.exit(3)"
    broken = Service("broken", "Broken", (sys.executable, "-c", script), lambda started: "nothing answers")
    with hold_platform(tmp_path, "") as lock:
        supervisor = Supervisor([broken, make_service("well", port)], tmp_path, lock, said.append)
        supervisor.start()
        try:
            wait_for(lambda: sum("ended with code 3" in line for line in said) >= 3)
            pauses = [line.partition("within ")[2].split(";")[0] for line in said if "ended with code 3" in line]
            assert pauses[:3] == ["1 s", "2 s", "4 s"]
            condition = supervisor.keepers[0].condition
            assert condition.state == "down" and condition.starts == 3
            assert "no such table: houses" in condition.reason
            assert not supervisor.is_ready
            well = supervisor.keepers[1]
            wait_for(lambda: well.condition.state == "ready")
            pid = well.condition.pid
            assert pid is not None
            psutil.Process(pid).children()[0].kill()
            wait_for(lambda: well.condition.state == "down")
            assert "ended with code 137" in well.condition.reason
            wait_for(lambda: well.condition.state == "ready" and well.condition.starts == 2)
        finally:
            supervisor.stop()
    assert [keeper.condition.state for keeper in supervisor.keepers] == ["stopped", "stopped"]


def test_a_stranger_who_answers_on_its_port_does_not_make_it_ready(tmp_path: Path) -> None:
    said: list[str] = []
    with hold_platform(tmp_path, "") as lock, HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        port = stranger.server_address[1]
        command = (sys.executable, "-c", "import time; time.sleep(600)")
        service = Service("s", "S", command, ask_http(port, "/"), port=port)
        supervisor = Supervisor([service], tmp_path, lock, said.append)
        supervisor.start()
        try:
            keeper = supervisor.keepers[0]
            held = f"port {port} is held by process {psutil.Process().pid}: "
            wait_for(lambda: keeper.condition.reason.startswith(held))
            assert keeper.condition.state == "starting" and not supervisor.is_ready
        finally:
            supervisor.stop()
            stranger.shutdown()
    assert not any("ready after" in line for line in said)


@pytest.mark.slow
def test_one_that_runs_but_does_not_answer_is_shown(tmp_path: Path) -> None:
    wrong, said = threading.Event(), list[str]()
    command = (sys.executable, "-c", "import time; time.sleep(600)")
    service = Service("s", "S", command, lambda started: "no answer on port 1" if wrong.is_set() else "")
    with hold_platform(tmp_path, "") as lock:
        supervisor = Supervisor([service], tmp_path, lock, said.append)
        supervisor.start()
        try:
            keeper = supervisor.keepers[0]
            wait_for(lambda: keeper.condition.state == "ready")
            wrong.set()
            wait_for(lambda: keeper.condition.state == "failing")
            assert keeper.condition.reason == "no answer on port 1"
            assert keeper.condition.starts == 1
            wrong.clear()
            wait_for(lambda: keeper.condition.state == "ready")
        finally:
            supervisor.stop()
    assert any("runs, but no answer on port 1" in line for line in said)
