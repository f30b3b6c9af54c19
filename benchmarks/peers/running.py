"""A contestant's server process, from its start until it gives the right answer, to its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.contestants import ROOT, Contestant
from benchmarks.peers.environments import find_python

READY_SECONDS = 90


@contextmanager
def run_server(contestant: Contestant, bundle: Path) -> Iterator[int]:
    """The contestant's server on free ports, and its first one."""
    python = find_python(contestant.pins)
    quiet = {"DO_NOT_TRACK": "1", "BENTOML_DO_NOT_TRACK": "True"}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TIDELINE_", "BENTOML_", "PYTHONPATH"))}
    own = {} if contestant.pins else {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        port = _free_ports()
        start = contestant.start(python, port, Path(folder), bundle)
        environment = {**kept, **quiet, **own, **start.environment}
        process = subprocess.Popen(
            start.command, cwd=start.folder, env=environment, stdout=said, stderr=said, start_new_session=True
        )
        try:
            _wait_for(port, process)
            yield port
        except BaseException:
            said.seek(0)
            sys.stderr.write(said.read().decode(errors="replace")[-4000:])
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            finally:
                _end_group(process.pid)


def ask_once(port: int, path: str, body: bytes) -> object:
    """One answer, decoded."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.loads(response.read())


def check_answer(contestant: Contestant, port: int, body: bytes, expected: float) -> None:
    """It has to predict what onnxruntime does; exits if it does not."""
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            found = contestant.read(ask_once(port, contestant.path, body))
            break
        except (urllib.error.URLError, OSError, ValueError) as error:
            if time.monotonic() > end:
                told = error.read()[:500] if isinstance(error, urllib.error.HTTPError) else error
                sys.exit(f"{contestant.name} does not answer: {told!r}")
            time.sleep(0.1)
    if abs(found - expected) > 1e-5 * abs(expected):
        sys.exit(f"{contestant.name} predicts {found}, onnxruntime {expected}")


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"nobody listens on {port} after {READY_SECONDS} s")


def _free_ports() -> int:
    """The first of three neighbouring ports that nobody listens on."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = int(probe.getsockname()[1])
        with socket.socket() as second, socket.socket() as third:
            try:
                second.bind(("127.0.0.1", first + 1))
                third.bind(("127.0.0.1", first + 2))
            except (OSError, OverflowError):
                continue
            return first


def _end_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)  # workers that outlived their parent
    except ProcessLookupError:
        return
