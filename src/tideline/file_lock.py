"""A lock between processes of one machine: the kernel's, so that it ends with its holder, however that ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tideline.contracts import TidelineError

POLL = 0.05  # seconds between two tries


class LockHeldError(TidelineError):
    """Another process holds the lock; `holder` is its number, or "unknown"."""

    def __init__(self, path: Path, holder: str, patience: float) -> None:
        waited = f", still after {patience:.0f} s" if patience >= 1 else ""
        super().__init__(f"{path} is held by process {holder}{waited}; wait until it has ended, or stop it")
        self.holder = holder


@contextmanager
def hold_lock(path: Path, patience: float = 60.0) -> Iterator[None]:
    """Hold the lock of a file for as long as the block lasts; wait `patience` seconds for another holder.

    No child process inherits it: Python opens files close-on-exec. Raises LockHeldError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    raise LockHeldError(path, file.read().strip() or "unknown", patience) from None
                time.sleep(POLL)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def find_holder(path: Path) -> str:
    """The process that holds the lock now, by its number or as "unknown"; empty if none does. Writes nothing."""
    try:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "unknown"
    except FileNotFoundError:
        pass
    return ""
