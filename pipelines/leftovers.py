"""Runs of a deployment that only its server still believes in: closed, so that they block and repeat nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Crashed

# Within which a run tries its lock: from its start on, and from when its process is asked for.
GRACE = {StateType.RUNNING: timedelta(seconds=15), StateType.PENDING: timedelta(seconds=120)}
GONE = "its process is gone: the lock that it must hold is free"
OVERDUE = "overdue; a run that began after it was due does for it"
OPEN = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


def close_leftovers() -> None:
    """Those of the deployment that the current flow run belongs to, if any. Only for the holder of its lock."""
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    if run is not None and run.deployment_id is not None:
        close_runs(run.deployment_id, run.id)


def close_runs(deployment: UUID, own: UUID | None = None) -> tuple[int, int]:
    """Close runs whose process is gone as crashed, and waiting ones that are overdue as made up for; their numbers.

    Only for the holder of the flight's lock: while it is held, no run that began a while ago can be at work. own: the
    run that asks; without one, whoever serves the deployment begins anew, and none of its runs can be at work.
    """
    dead = late = 0
    wanted = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=OPEN)),
    )
    with get_client(sync_client=True) as client:
        now = datetime.now(UTC)
        for run in client.read_flow_runs(flow_run_filter=wanted, limit=200):
            if run.id == own or run.state is None:
                continue
            due = run.expected_start_time
            if run.state.type == StateType.SCHEDULED:
                if own is not None and run.auto_scheduled and due is not None and due <= now:
                    client.set_flow_run_state(run.id, Cancelled(name="MadeUpFor", message=OVERDUE), force=True)
                    late += 1
            elif own is None or run.state.timestamp < now - GRACE.get(run.state.type, timedelta(0)):
                client.set_flow_run_state(run.id, Crashed(message=GONE), force=True)
                dead += 1
    return dead, late
