"""One platform a project: a lock that is held until the last process of it has ended."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tideline.contracts import TidelineError

FOLDER = Path(".tideline") / "platform"
STOP_SECONDS = 40.0  # until all services have ended


@dataclass(frozen=True)
class Holder:
    """The supervisor that runs, or ran last: its process and the address of its page."""

    pid: int
    url: str

    @property
    def is_alive(self) -> bool:
        """Whether that process is there; its number may have gone to another after a restart of the machine, so ask
        only about a lock that is held."""
        return bool(psutil.pid_exists(self.pid))


@contextmanager
def hold_platform(root: Path, url: str) -> Iterator[int]:
    """Hold the lock; its descriptor, which services inherit so that none outlives it unseen.

    Waits for services that are still ending. Raises TidelineError if a platform runs.
    """
    place = _lock_file(root)
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("a+") as file:
        end = time.monotonic() + STOP_SECONDS
        while not _try(file.fileno()):
            holder = _read(place)
            if holder is not None and holder.is_alive:
                raise TidelineError(
                    f"a platform is already running: {holder.url} (process {holder.pid}); `make down` stops it"
                )
            if time.monotonic() > end:
                raise TidelineError(f"services of an earlier platform do not end; who holds {place} tells `fuser`")
            time.sleep(0.1)
        file.truncate(0)
        file.write(json.dumps(asdict(Holder(os.getpid(), url))))
        file.flush()
        yield file.fileno()


def stop_platform(root: Path) -> str:
    """Stop the platform that runs and wait until all of it has ended; what was done, in words.

    Raises TidelineError if it does not end in time.
    """
    place = _lock_file(root)
    if not place.exists():
        return "no platform is running"
    with place.open("a+") as file:
        if _try(file.fileno()):
            return "no platform is running"
        holder = _read(place)
        if holder is not None and holder.is_alive:
            os.kill(holder.pid, signal.SIGTERM)
        end = time.monotonic() + STOP_SECONDS
        while not _try(file.fileno()):
            if time.monotonic() > end:
                raise TidelineError(f"the platform did not end within {STOP_SECONDS:g} s; who holds {place}: `fuser`")
            time.sleep(0.1)
    return "the platform has ended"


def _lock_file(root: Path) -> Path:
    return root / FOLDER / "lock"


def _read(place: Path) -> Holder | None:
    """None while its holder is about to write it."""
    try:
        return Holder(**json.loads(place.read_text()))
    except (ValueError, TypeError):
        return None


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
