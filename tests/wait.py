"""Waiting for what comes about by itself."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 3.0  # others may work on the machine


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Return once the condition holds; a failure after so many seconds of a machine at rest."""
    deadline = time.monotonic() + PATIENCE * seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)
