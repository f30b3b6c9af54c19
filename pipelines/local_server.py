"""A server process on a free port of this machine, for as long as a `with` block lasts."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import Any, Self

from tideline.contracts import TidelineError


class LocalServer:
    """`python -m serving` for one task. Ready when /readyz answers 200; stopped by SIGTERM at the end."""

    def __init__(self, task: str, timeout: float = 60.0) -> None:
        self.task, self.timeout = task, timeout
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.seconds_to_ready = float("nan")

    def __enter__(self) -> Self:
        start = time.monotonic()
        self._log = tempfile.TemporaryFile()
        command = [sys.executable, "-m", "serving", "--task", self.task, "--port", str(self.port)]
        self._process = subprocess.Popen(
            command, stdout=self._log, stderr=subprocess.STDOUT, env=dict(os.environ), start_new_session=True
        )
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() - start > self.timeout:
                self._stop()
                self._log.seek(0)
                said = self._log.read().decode(errors="replace")
                raise TidelineError(f"the server of {self.task} did not become ready; it said:\n{said}")
            time.sleep(0.05)
        self.seconds_to_ready = time.monotonic() - start
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._log.close()

    def ask(self, path: str, body: Any) -> Any:
        """POST `body` as JSON; the decoded answer. Raises TidelineError on any status but 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read().decode()
        finally:
            connection.close()
        if response.status != 200:
            raise TidelineError(f"POST {path} answered {response.status}: {content}")
        return json.loads(content)

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False  # not listening yet
        finally:
            connection.close()

    def _stop(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
