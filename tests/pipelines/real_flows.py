"""A project of its own with flows as processes, and a Prefect server that can be killed and started again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import yaml

from pipelines.orphans import MARK
from tests.e2e.conftest import Project, copy_project, set_params
from tests.wait import wait_for

MODELS = ["naive", "linear", "decision_tree"]
SCHEDULES = {"training": "", "monitoring": "", "retraining": "", "backfill": ""}


def make_project(target: Path, data_dir: Path, server: str | None, **flows: Any) -> Project:
    """A copy with few models; `flows` are changes of that section. server: its API's address, None for none."""
    project = copy_project(target, data_dir)
    settings = {**yaml.safe_load((target / "params.yaml").read_text())["flows"], "schedules": SCHEDULES, **flows}
    set_params(project, tasks=["housing"], models=MODELS, tuning={}, blend={"candidates": MODELS[1:], "members": 2},
               flows=settings)  # fmt: skip
    env = {key: value for key, value in project.env.items() if not key.startswith("PREFECT_")}
    env |= {"PREFECT_HOME": str(target / ".tideline" / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    return replace(project, env=env if server is None else {**env, "PREFECT_API_URL": server})


def finished_stages(project: Project) -> set[str]:
    """Addresses in dvc.lock; none while it is being written, or if it was torn."""
    path = project.path / "dvc.lock"
    try:
        return set(yaml.safe_load(path.read_text())["stages"])
    except (FileNotFoundError, TypeError, yaml.YAMLError):
        return set()


def marked_processes(project: Project) -> list[psutil.Process]:
    """Processes that work for a flow of the project: stages, and temporary Prefect servers."""
    found = []
    for process in psutil.process_iter():
        try:
            about = process.environ().get(MARK, "").startswith(f"{project.path.resolve()}:")
            if about and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def copy_built(built: Project, target: Path) -> Project:
    """A copy of a built project that a test may change: its first version is champion, and its log is empty."""
    shutil.copytree(built.path, target, symlinks=True, ignore=shutil.ignore_patterns("registry", "store", ".tideline"))
    env = {name: value.replace(str(built.path), str(target)) for name, value in built.env.items()}
    project = replace(built, path=target, env=env)
    project.tideline("promote", "housing")
    return project


class Program:
    """`python -m MODULE` in the project; its lines as they come."""

    def __init__(self, project: Project, *command: str) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=project.path, env={**project.env, "PYTHONUNBUFFERED": "1"}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, errors="replace",
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    def wait_for_line(self, text: str, seconds: float = 240.0) -> None:
        """Return once a line with `text` has come; a failure if the program ends before."""

        def has_come() -> bool:
            if any(text in line for line in self.lines):
                return True
            assert self.process.poll() is None, self.said
            return False

        wait_for(has_come, seconds)

    def wait(self, seconds: float = 480.0) -> int:
        """Its exit code."""
        self.process.wait(seconds)
        self._reader.join(10)
        return self.process.returncode

    def kill(self) -> None:
        """kill -9 of this process alone."""
        self.process.kill()
        self.process.wait()

    def kill_tree(self) -> None:
        """kill -9 of it and of all that it started, in whatever session."""
        children = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        self.kill_all()
        for child in children:
            if child.is_running():
                child.kill()

    def kill_all(self) -> None:
        """kill -9 of it and of all that it started in its session."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    @property
    def said(self) -> str:
        return "".join(list(self.lines))

    @property
    def stages(self) -> list[str]:
        """Addresses of the stages that began to run, in order, each as often as it did."""
        return [line.split("'")[-2] for line in list(self.lines) if "Running stage '" in line]


class PrefectServer:
    """`prefect server start` with a database file in `home`, on a free port that it keeps."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.home, self.url = home, f"http://127.0.0.1:{self.port}/api"
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, kind: str, body: dict[str, Any]) -> Any:
        """What its API's filter for `kind` finds, such as `artifacts` or `events`."""
        content = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/{kind}/filter", content, headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def start(self) -> None:
        """Return once it is healthy."""
        self.home.mkdir(parents=True, exist_ok=True)
        env = {**os.environ, "PREFECT_HOME": str(self.home), "PREFECT_API_URL": self.url, "PREFECT_UI_ENABLED": "false"}
        with (self.home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)],
                env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        wait_for(self._is_healthy, 180)

    def kill(self) -> None:
        """kill -9 of all its processes."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _is_healthy(self) -> bool:
        assert self._process is not None and self._process.poll() is None, (self.home / "server.log").read_text()
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
