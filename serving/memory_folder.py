"""A folder in memory for the files that a server's workers share: BentoML's home, with the metrics in it.

Prometheus' client writes metrics into mapped files. On a full disk that is no exception: the kernel kills the worker
(SIGBUS), and the one that takes its place. In memory there is no such end, and no page waits for a disk.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MEMORY = Path("/dev/shm")  # Linux


def open_memory_folder(memory: Path = MEMORY) -> Path | None:
    """A new folder that belongs to this process and to what it becomes by `exec`; None where there is no such memory.

    Folders of processes that have ended are removed: each holds the lock of its own as long as it lives.
    """
    parent = memory / f"tideline-{os.getuid()}"
    try:
        parent.mkdir(mode=0o700, exist_ok=True)
        found = parent.lstat()
    except OSError:
        return None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        return None  # somebody else's: all of this machine's users may write beside it
    with _hold(parent):
        for old in parent.glob("*.lock"):
            _remove_if_left(old)
        folder = parent / f"{os.getpid()}-{os.urandom(4).hex()}"
        lock = os.open(folder.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.set_inheritable(lock, True)
        folder.mkdir()
    return folder


@contextmanager
def _hold(folder: Path) -> Iterator[None]:
    """One process at a time: a lock that was made, but is not held yet, looks as if it were left."""
    place = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


def _remove_if_left(lock: Path) -> None:
    """A lock that nobody holds, and its folder."""
    with lock.open() as file, suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
        lock.unlink()
