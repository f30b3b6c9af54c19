"""One run of a flow for a task at a time, over all processes of this machine, with or without a Prefect server."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tideline.contracts import TidelineError

PLACE = Path(".tideline/flows")


class Busy(TidelineError):
    """Another run holds the lock."""


@contextmanager
def single_flight(name: str, root: Path = Path()) -> Iterator[None]:
    """Hold the lock of `name`, e.g. `graph-housing`, for as long as the block lasts. Raises Busy if another has it.

    The kernel gives the lock back when its holder dies, however it dies; no child process inherits it.
    """
    path = root / PLACE / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"{name}: a run is under way ({_describe_holder(path)}); wait for its end, or stop it") from None
        file.seek(0)
        file.truncate()
        json.dump({"pid": os.getpid(), "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}, file)
        file.flush()
        yield


def _describe_holder(path: Path) -> str:
    try:
        holder: dict[str, Any] = json.loads(path.read_text())
    except ValueError:
        return "it has just begun"
    return f"process {holder['pid']}, since {holder['since']}"
