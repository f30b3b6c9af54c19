"""One run of a flow for a task at a time, over all processes of this machine, with or without a Prefect server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tideline.contracts import TidelineError
from tideline.file_lock import LockHeldError, hold_lock
from tideline.graph_flight import FLIGHTS

PLACE = FLIGHTS


class Busy(TidelineError):
    """Another run holds the lock."""


@contextmanager
def single_flight(name: str, root: Path = Path()) -> Iterator[None]:
    """Hold the lock of `name`, e.g. `graph-housing`, for as long as the block lasts. Raises Busy if another has it."""
    with ExitStack() as held:
        try:
            held.enter_context(hold_lock(root / PLACE / f"{name}.lock", patience=0))
        except LockHeldError as error:
            said = f"{name}: a run is under way (process {error.holder}); wait for its end, or stop it"
            raise Busy(said) from None
        yield
