"""The longest that a request may take: one look at all open requests several times a second, not a timer for each.

BentoML's middleware starts a timer and a second task a request, and never cancels the timer: at thousands of requests a
second that is a quarter of the work, and all of their objects stay in memory until the time is over.
"""

from __future__ import annotations

import asyncio

LOOKS = 20  # within the time that a request may take


class Deadlines:
    """Cancels the tasks of requests that take longer than `seconds`. For one event loop at a time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._open: dict[asyncio.Task[object], float] = {}  # since when, the oldest first
        self._late: set[asyncio.Task[object]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None  # the one that looks

    def enter(self) -> asyncio.Task[object]:
        """The running task's request begins; hand what this gives to `leave`."""
        task = asyncio.current_task()
        assert task is not None
        loop = task.get_loop()
        self._open[task] = loop.time()
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(self.seconds / LOOKS, self._look)
        return task

    def leave(self, task: asyncio.Task[object]) -> None:
        """Its answer is ready; sending may take as long as the client likes."""
        self._open.pop(task, None)

    def was_late(self, task: asyncio.Task[object]) -> bool:
        """True if the cancellation that has just reached the task came from here; it is undone then."""
        if task not in self._late:
            return False
        self._late.remove(task)
        task.uncancel()
        return True

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            return
        limit = loop.time() - self.seconds
        late = []
        for task, since in self._open.items():
            if since > limit:
                break
            late.append(task)
        for task in late:
            del self._open[task]
            self._late.add(task)
            task.cancel()
        if self._open:
            loop.call_later(self.seconds / LOOKS, self._look)
        else:
            self._loop = None
