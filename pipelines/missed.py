"""A schedule that was missed runs once: a scheduled run is not needed if one began after it was due."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from prefect.context import FlowRunContext

from pipelines.single_flight import PLACE
from tideline.files import write_json


def is_made_up_for(flow: str, task: str, root: Path = Path()) -> str:
    """Why this scheduled run has nothing to do, or nothing; then it is noted as begun. Only for the flight's holder.

    However many runs are late when a server or the deployments come back, the first to get hold of the flight does for
    all that were due by then. Runs that a person asked for are never left out.
    """
    path = root / PLACE / f"begun-{flow}-{task}.json"
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    if run is not None and run.auto_scheduled and run.expected_start_time is not None and path.exists():
        last = datetime.fromisoformat(json.loads(path.read_text())["begun"])
        if run.expected_start_time <= last <= datetime.now(UTC):  # one from the future was begun by a wrong clock
            due = f"{run.expected_start_time:%Y-%m-%dT%H:%M:%SZ}"
            return f"due at {due}; the run that began at {last:%Y-%m-%dT%H:%M:%SZ} did for it"
    write_json(path, {"begun": datetime.now(UTC).isoformat()})
    return ""
