"""What every flow does around its work: one at a time, orphans ended, missed schedules made up for by one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect import State, get_run_logger
from prefect.states import Cancelled

from pipelines.leftovers import close_leftovers
from pipelines.missed import is_made_up_for
from pipelines.orphans import end_orphans
from pipelines.single_flight import Busy, single_flight
from tideline.catalog import get_task
from tideline.champion import missing_champion
from tideline.layout import Layout
from tideline.pointer import read_pointer


def fly(flow: str, task: str, flight: str, work: Callable[[], Any], needs_champion: bool = True) -> Any:
    """`work()` under the lock of `flight`, e.g. `graph-housing`; or the state that says why it was left out."""
    log = get_run_logger()
    layout = Layout(get_task(task).name)
    if needs_champion and read_pointer(layout) is None:  # nothing has failed: a schedule may be there before it
        return _leave_out("NoChampion", missing_champion(layout))
    try:
        with single_flight(flight):
            for command in end_orphans(flight):
                log.warning("ended what a dead run had left: %s", command)
            reason = is_made_up_for(flow, task)
            if reason:
                return _leave_out("MadeUpFor", reason)
            close_leftovers()  # only now: this run does for what is overdue
            return work()
    except Busy as error:
        return _leave_out("AlreadyRunning", str(error))


def _leave_out(name: str, reason: str) -> State[Any]:
    get_run_logger().warning("%s: %s", name, reason)
    return Cancelled(name=name, message=reason)
