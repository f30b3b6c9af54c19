"""One retraining of a task at a time, over all processes of the machine: a file lock that ends with its process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tideline.contracts import TidelineError
from tideline.layout import Layout


class InFlightError(TidelineError):
    """Another process retrains this task."""


@contextmanager
def single_flight(layout: Layout) -> Iterator[None]:
    """Hold the task's retraining. Raises InFlightError at once if another process does."""
    path = layout.registry / ".retraining.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    # A child (the graph) does not inherit the lock: Python opens files close-on-exec.
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InFlightError(
                f"{layout.task} is being retrained by process {file.read().strip() or 'unknown'}; wait for it"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
