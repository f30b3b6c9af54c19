"""The flows on their schedules: `python -m pipelines.deployments [--task T ...]` serves them until it is stopped."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prefect import Flow, serve
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.types.entrypoint import EntrypointType

from pipelines.backfill import backfill
from pipelines.leftovers import close_runs
from pipelines.monitoring import monitoring
from pipelines.retraining import retraining
from pipelines.schedules import read_schedule
from pipelines.single_flight import Busy, single_flight
from pipelines.training import training
from tideline.contracts import TidelineError
from tideline.params import Flows, load_params
from tideline.progress import say

# Flow, and the lock under which it works.
FLOWS: dict[str, tuple[Flow[..., Any], str]] = {
    "training": (training, "graph"),
    "monitoring": (monitoring, "monitoring"),
    "retraining": (retraining, "graph"),
    "backfill": (backfill, "backfill"),
}
# Not CANCEL_NEW: a run whose process died holds its place until it is closed, and all that falls due would be lost.
ONE = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)


def build_deployments(tasks: Sequence[str], settings: Flows) -> list[RunnerDeployment]:
    """One deployment for each task and flow, named by the task. Raises TidelineError on a bad schedule."""
    found = []
    for name, (flow, _) in FLOWS.items():
        schedule = read_schedule(getattr(settings.schedules, name), f"params.yaml: flows.schedules.{name}")
        for task in tasks:
            deployment = flow.to_deployment(
                task,
                schedules=[] if schedule is None else [schedule],
                parameters={"task": task},
                concurrency_limit=ONE,
                tags=["tideline", task, name],
                description=flow.description,
                entrypoint_type=EntrypointType.MODULE_PATH,
            )
            assert isinstance(deployment, RunnerDeployment)  # a coroutine only inside an event loop
            found.append(deployment)
    return found


def close_dead_runs(tasks: Sequence[str]) -> int:
    """Close runs that the server believes in although no process holds their lock: they block new ones. How many."""
    closed = 0
    for name, (_, flight) in FLOWS.items():
        for task in tasks:
            try:
                with single_flight(f"{flight}-{task}"), get_client(sync_client=True) as client:
                    closed += close_runs(client.read_deployment_by_name(f"{name}/{task}").id)[0]
            except (Busy, ObjectNotFound):
                continue  # at work, or never served before
    return closed


def main() -> int:
    """Serve the deployments; a TidelineError ends as one message."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.deployments", description=__doc__)
    parser.add_argument("--task", action="append", help="may be given several times (default: all of params.yaml)")
    chosen = parser.parse_args().task
    held = ExitStack()
    try:
        params = load_params()
        if not PREFECT_API_URL.value():
            raise TidelineError(
                "schedules need a Prefect server: start one (`prefect server start`) and name it, e.g. "
                "PREFECT_API_URL=http://127.0.0.1:4200/api"
            )
        unknown = sorted(set(chosen or ()) - set(params.tasks))
        if unknown:
            raise TidelineError(f"--task {unknown[0]}: not listed under `tasks` in params.yaml")
        tasks = chosen or params.tasks
        deployments = build_deployments(tasks, params.flows)
        for task in tasks:
            held.enter_context(single_flight(f"deployments-{task}"))
        closed = close_dead_runs(tasks)
    except TidelineError as error:
        print(f"deployments: {error}", file=sys.stderr)
        return 1
    if closed:
        say(f"closed {closed} runs whose process is gone")
    # The processes of the runs import this package.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH"))))
    # Not paused at the end: what falls due meanwhile is made up for, by one run, when somebody serves again.
    with held:
        serve(*deployments, pause_on_shutdown=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
