"""Keeps services running: starts them, sees whether they answer, starts again what has ended, stops all of them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.platform import guard
from pipelines.platform.lock import FOLDER
from pipelines.platform.ports import find_stranger
from pipelines.platform.services import COMMON, Service

State = Literal["waiting", "starting", "ready", "failing", "down", "stopped"]

STEADY_SECONDS = 60.0  # of running, after which a service that ends is started again at once
LONGEST_PAUSE = 30.0  # seconds before it is started again
SLOW_SECONDS = 120.0  # after which a service that is not ready is worth a line
LARGE_LOG = 10 * 2**20  # bytes, after which a log is put aside when its service starts
_EVERY = {"starting": 0.25, "failing": 1.0}  # seconds between probes


@dataclass(frozen=True)
class Condition:
    """How a service is now. reason: what is wrong, in words. since: seconds since 1970. starts: how often it began."""

    state: State
    reason: str
    since: float
    starts: int
    pid: int | None


class Keeper:
    """Keeps one service running, in a thread of its own."""

    def __init__(
        self, service: Service, root: Path, lock: int, say: Callable[[str], None], stopping: threading.Event
    ) -> None:
        self.service, self.log = service, root / FOLDER / f"{service.name}.log"
        self.condition = Condition("waiting", "", time.time(), 0, None)
        self.needs: list[Keeper] = []
        self.dependents: list[Keeper] = []
        self._root, self._lock, self._say, self._stopping = root, lock, say, stopping
        self._thread = threading.Thread(target=self._run, name=service.name)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the service has ended; somebody has set the event before."""
        self._thread.join()

    def _run(self) -> None:
        failures = 0
        while self._wait_for_needs():
            began = time.monotonic()
            code = self._run_once()
            if self._stopping.is_set():
                break
            failures = 1 if time.monotonic() - began > STEADY_SECONDS else failures + 1
            pause = min(LONGEST_PAUSE, 2.0 ** (failures - 1))
            said = _last_line(self.log)
            what = f"ended with code {code}, starts again within {pause:g} s"
            self._set("down", f"{what}: {said}" if said else what)
            self._tell(f"{what}; {self.log} ends with: {said}")
            self._stopping.wait(pause)
        self._set("stopped", "")

    def _wait_for_needs(self) -> bool:
        """False if all is to stop."""
        while not self._stopping.is_set():
            missing = [k.service.name for k in self.needs if k.condition.state != "ready"]
            if not missing:
                return True
            self._set("waiting", f"waits for {', '.join(missing)}")
            self._stopping.wait(0.1)
        return False

    def _run_once(self) -> int:
        """Start the service and look after it until it has ended; its exit code."""
        process = self._open()
        began, started, told = time.monotonic(), time.time(), False
        self._set("starting", "", process.pid)
        while process.poll() is None and not self._stopping.is_set():
            wrong = self._look(started, process.pid)
            state = self.condition.state
            if process.poll() is not None:
                break
            if not wrong:
                if state != "ready":
                    self._set("ready", "", process.pid)
                    took = f"ready after {time.monotonic() - began:.1f} s  {self.service.url}"
                    self._tell(took if state == "starting" else "ready again")
            elif state == "starting":
                self._set("starting", wrong, process.pid)
                if not told and time.monotonic() - began > SLOW_SECONDS:
                    told = True
                    self._tell(f"not ready after {SLOW_SECONDS:g} s ({wrong}); see {self.log}")
            elif state == "ready":
                self._set("failing", wrong, process.pid)
                self._tell(f"runs, but {wrong}; see {self.log}")
            self._wait(process, _EVERY.get(self.condition.state, self.service.every))
        for dependent in self.dependents if self._stopping.is_set() else ():
            dependent.join()  # it may have something to tell this one at its end
        assert process.stdin is not None
        process.stdin.close()  # which tells the guard to stop
        return process.wait()

    def _look(self, started: float, pid: int) -> str:
        """What is wrong with the service; a look that fails is a thing to be seen, and no reason to leave it alone.

        What answers on its port while it starts may be somebody else, who took the port first."""
        try:
            wrong = self.service.probe(started)
            if wrong or self.service.port is None or self.condition.state != "starting":
                return wrong
            stranger = find_stranger(self.service.port, pid)
            return f"port {self.service.port} is held by {stranger}" if stranger else ""
        except Exception as error:
            return f"cannot be asked: {error!r}"

    def _open(self) -> subprocess.Popen[bytes]:
        if self.log.exists() and self.log.stat().st_size > LARGE_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
        command = [sys.executable, "-P", guard.__file__, str(self.service.grace), *self.service.command]
        with self.log.open("ab") as log:
            log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(self.service.command)}\n".encode())
            log.flush()
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, cwd=self._root,
                env={**os.environ, **COMMON, **self.service.environment}, pass_fds=(self._lock,),
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops the services in order
            )  # fmt: skip

    def _wait(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        """Until the next probe, but no longer than the process runs."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and process.poll() is None and not self._stopping.wait(0.1):
            pass

    def _set(self, state: State, reason: str, pid: int | None = None) -> None:
        now = self.condition
        since = now.since if now.state == state else time.time()
        starts = now.starts + (state == "starting" and now.state != "starting")
        self.condition = Condition(state, reason, since, starts, pid)

    def _tell(self, text: str) -> None:
        self._say(f"{self.service.name:<18} {text}")


class Supervisor:
    """All services of a platform. `lock`: the descriptor that they hold as long as one of them runs."""

    def __init__(self, services: Sequence[Service], root: Path, lock: int, say: Callable[[str], None]) -> None:
        self._stopping, self._saying, self._say = threading.Event(), threading.Lock(), say
        self.keepers = [Keeper(service, root, lock, self._tell, self._stopping) for service in services]
        named = {keeper.service.name: keeper for keeper in self.keepers}
        for keeper in self.keepers:
            keeper.needs = [named[name] for name in keeper.service.needs]
            for other in keeper.needs:
                other.dependents.append(keeper)

    def start(self) -> None:
        """Start all services."""
        for keeper in self.keepers:
            keeper.start()

    @property
    def is_ready(self) -> bool:
        """Whether all of them answer."""
        return all(keeper.condition.state == "ready" for keeper in self.keepers)

    def stop(self) -> None:
        """Stop all of them, those first that need others; returns when they have ended."""
        self._stopping.set()
        for keeper in self.keepers:
            keeper.join()

    def _tell(self, text: str) -> None:
        """One line at a time."""
        with self._saying:
            self._say(text)


def _last_line(log: Path) -> str:
    """The last thing that a service said."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
