"""One retraining of a task at a time, over all processes of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tideline.contracts import TidelineError
from tideline.file_lock import LockHeldError, hold_lock
from tideline.graph_flight import hold_graph
from tideline.layout import Layout
from tideline.lineage.restoring import check_restored


class InFlightError(TidelineError):
    """Another process retrains this task, or is at work on its graph."""


@contextmanager
def single_flight(layout: Layout) -> Iterator[None]:
    """Hold the task's retraining. Raises InFlightError at once if another process does."""
    with ExitStack() as held:
        try:
            held.enter_context(hold_lock(layout.registry / ".retraining.lock", patience=0))
        except LockHeldError as error:
            raise InFlightError(f"{layout.task} is being retrained by process {error.holder}; wait for it") from None
        yield


@contextmanager
def hold_all(layout: Layout) -> Iterator[None]:
    """Hold the task's retraining and its graph. Raises InFlightError at once if another process has one of them."""
    with single_flight(layout), ExitStack() as held:
        try:
            held.enter_context(hold_graph(layout))
        except LockHeldError as error:
            raise InFlightError(
                f"process {error.holder} is at work on the graph of {layout.task}: a flow, a retraining or a "
                "`tideline rollback --all`; wait for its end"
            ) from None
        yield


@contextmanager
def build_flight(layout: Layout) -> Iterator[None]:
    """The same for what builds on the task's files: raises TidelineError if they may be of different versions."""
    with hold_all(layout):
        check_restored(layout)
        yield
