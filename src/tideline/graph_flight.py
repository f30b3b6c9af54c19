"""One process at a time that builds a task's graph, or puts another version's files in its place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tideline.file_lock import LockHeldError, hold_lock
from tideline.layout import Layout

FLIGHTS = Path(".tideline/flows")  # locks, and what flows note beside them


@contextmanager
def hold_graph(layout: Layout) -> Iterator[None]:
    """Hold the task's graph. A program that a flow has started works under the flow's own lock.

    Raises LockHeldError at once if another process has it.
    """
    with ExitStack() as held:
        try:
            held.enter_context(hold_lock(layout.root / FLIGHTS / f"graph-{layout.task}.lock", patience=0))
        except LockHeldError as error:
            if error.holder != str(os.getppid()):
                raise
        yield
