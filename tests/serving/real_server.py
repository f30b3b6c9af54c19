"""A real server process on a free port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[2]


def clean_environment(home: Path, **variables: str) -> dict[str, str]:
    """The environment without settings of the machine it runs on."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TIDELINE_", "BENTOML_", "PROMETHEUS_"))}
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1"}
    return {**kept, **quiet, "PYTHONPATH": path, "TIDELINE_HOME": str(home), **variables}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RealServer:
    """`python -m serving` (or another command) for as long as a `with` block lasts.

    It is asked where it listens, TIDELINE_SERVING_HOST, or over the loopback. Nobody waits for one whose log says
    `hopeless`.
    """

    def __init__(
        self, arguments: list[str], home: Path, command: list[str] | None = None, hopeless: str = "", **variables: str
    ) -> None:
        self.home, self.hopeless = home, hopeless
        self.port = free_port()
        host = variables.get("TIDELINE_SERVING_HOST", "0.0.0.0")
        self.url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{self.port}"
        start = command or [sys.executable, "-m", "serving"]
        self.command = [*start, *arguments, "--port", str(self.port)]
        self.environment = clean_environment(home, **variables)
        self.client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def __enter__(self) -> Self:
        self._log = tempfile.NamedTemporaryFile()
        self.process = subprocess.Popen(
            self.command, env=self.environment, cwd=tempfile.gettempdir(), stdout=self._log, stderr=subprocess.STDOUT
        )
        end = time.monotonic() + 60
        while not self.is_ready():
            is_hopeless = self.hopeless and self.hopeless in self.log
            if is_hopeless or self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise AssertionError(f"the server did not become ready:\n{self.log}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self.stop()
        self._log.close()

    @property
    def log(self) -> str:
        """What the process has said so far."""
        return Path(self._log.name).read_text(errors="replace")  # not by our handle: the process writes where it stands

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def predict(self, rows: list[dict[str, Any]]) -> httpx.Response:
        """POST /predict."""
        return self.client.post("/predict", json={"rows": rows})

    def is_ready(self) -> bool:
        """Whether it answers, and can predict."""
        try:
            return bool(self.client.get("/readyz", timeout=2).status_code == 200)  # nobody may be behind the port yet
        except httpx.TransportError:
            return False


def workers_of(server: RealServer) -> list[psutil.Process]:
    """The processes that answer."""
    found = []
    for process in psutil.Process(server.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a zombie
            if "_bentoml_impl.worker.service" in " ".join(process.cmdline()):
                found.append(process)
    return found
