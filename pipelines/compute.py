"""Where the stages of a training flow run: threads of this process, or the workers of a Dask cluster."""

from __future__ import annotations

import os
from typing import Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tideline.cluster import ADDRESS
from tideline.contracts import TidelineError
from tideline.params import Params


def task_runner(params: Params) -> TaskRunner[Any]:
    """As `compute` says. Raises TidelineError."""
    settings = params.flows
    if settings.workers < 1:
        raise TidelineError(f"params.yaml: flows.workers is {settings.workers}; expected 1 or more")
    if params.compute == "local":
        return ThreadPoolTaskRunner(max_workers=settings.workers)
    from prefect_dask import DaskTaskRunner

    address = os.environ.get(ADDRESS)
    runner: TaskRunner[Any]
    if address:
        runner = DaskTaskRunner(address=address)
        return runner
    # A stage is a process of its own; a worker only waits for it.
    cluster = {"n_workers": settings.workers, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    runner = DaskTaskRunner(cluster_kwargs={**cluster, "host": "127.0.0.1"})
    return runner


def leave_slot() -> dict[str, str]:
    """Within a task on a Dask worker that will only wait: its place is for others, also for what its stage will ask of
    the cluster. Returns the environment in which a stage finds that cluster."""
    from distributed import get_worker, secede

    address = get_worker().scheduler.address
    secede()
    return {ADDRESS: address}
