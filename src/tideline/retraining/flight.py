"""One retraining of a task at a time, over all processes of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tideline.contracts import TidelineError
from tideline.file_lock import LockHeldError, hold_lock
from tideline.layout import Layout


class InFlightError(TidelineError):
    """Another process retrains this task."""


@contextmanager
def single_flight(layout: Layout) -> Iterator[None]:
    """Hold the task's retraining. Raises InFlightError at once if another process does."""
    with ExitStack() as held:
        try:
            held.enter_context(hold_lock(layout.registry / ".retraining.lock", patience=0))
        except LockHeldError as error:
            raise InFlightError(f"{layout.task} is being retrained by process {error.holder}; wait for it") from None
        yield
