"""Long computations beside the event loop: in a thread of low priority, so that a core goes to the answers first."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")
NICE = 10  # more than the server itself


def run_low_priority(compute: Callable[[], Result]) -> Result:
    """What `compute` returns or raises. Use it for what holds the interpreter's lock for moments only: while a thread
    of low priority holds it, the event loop waits for a core as long as that thread does."""
    done: Future[Result] = Future()

    def run() -> None:
        _lower_priority()
        try:
            done.set_result(compute())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name="low-priority", daemon=True).start()
    return done.result()


def _lower_priority() -> None:
    if sys.platform == "linux":  # elsewhere a thread has no priority of its own
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICE)
