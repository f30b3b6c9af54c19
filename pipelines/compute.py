"""Where the stages of a training flow run: threads of this process, or the workers of a Dask cluster."""

from __future__ import annotations

import os
from typing import Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tideline.contracts import TidelineError
from tideline.params import Flows

ADDRESS = "TIDELINE_DASK_ADDRESS"


def task_runner(settings: Flows) -> TaskRunner[Any]:
    """As `flows.compute` says, `flows.workers` stages side by side. Raises TidelineError."""
    if settings.workers < 1:
        raise TidelineError(f"params.yaml: flows.workers is {settings.workers}; expected 1 or more")
    if settings.compute == "local":
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
