"""Flow `training`: brings the bundle of one task up to date, stage by stage, as dvc.yaml says.

Run as `python -m pipelines.training TASK`.
"""

from __future__ import annotations

import queue
import sys
import time
from collections import Counter, deque
from functools import partial
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from pipelines.artefacts import show_training
from pipelines.command import run_flow
from pipelines.compute import leave_slot, task_runner
from pipelines.dvc_state import keep_lock_file, mend
from pipelines.flight import fly
from pipelines.graph import Stage, find_stale, read_graph
from pipelines.guarded_run import run_guarded
from pipelines.walk import Walk
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.lineage.restoring import check_restored
from tideline.params import Params, load_params


@task(name="stage", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def stage_task(name: str, flight: str, timeout: float, on_cluster: bool) -> float:
    """Reproduce one stage; its lines go to Prefect's log. Returns seconds."""
    start = time.monotonic()
    command = ["dvc", "--wait-for-lock", "repro", "--single-item", name]
    environment = leave_slot() if on_cluster else {}
    run_guarded(flight, command, get_run_logger().info, timeout, environment=environment)
    keep_lock_file()
    return time.monotonic() - start


@flow(name="training", flow_run_name="training-{task}", persist_result=False)
def training(task: str) -> Any:
    """Bring the bundle of `task` up to date. Returns the seconds of each stage that ran; raises TidelineError."""
    return fly("training", task, f"graph-{task}", partial(train, task), needs_champion=False)


def train(name: str) -> dict[str, float]:
    """The work itself, for the holder of the graph's lock. Raises TidelineError, also while a `rollback --all` is
    unfinished."""
    check_restored(Layout(name))
    params = load_params()
    log = get_run_logger()
    for mended in mend():
        log.warning(mended)
    seconds, walk = run_stages(read_graph(name), f"graph-{name}", params)
    show_training(name, seconds, walk.outcomes)
    log.info("; ".join(f"{n} stages {outcome}" for outcome, n in Counter(walk.outcomes.values()).items()))
    failed = [stage for stage, outcome in walk.outcomes.items() if outcome == "failed"]
    if failed:
        raise TidelineError(f"failed: {', '.join(failed)} (see the log); mend the cause and run the flow again")
    return seconds


def run_stages(stages: tuple[Stage, ...], flight: str, params: Params) -> tuple[dict[str, float], Walk]:
    """Run what is stale, `flows.workers` stages side by side. Returns seconds by stage, and the walk.

    The limit is kept here: a stage leaves its place on a Dask worker to others.
    """
    settings, on_cluster = params.flows, params.compute == "dask"
    run = stage_task.with_options(retries=settings.retries, retry_delay_seconds=settings.retry_delay)
    walk = Walk(stages, find_stale)
    running: dict[str, PrefectFuture[float]] = {}
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()
    seconds: dict[str, float] = {}
    ready: deque[str] = deque()
    with task_runner(params) as runner:
        while True:
            ready.extend(walk.take_ready())
            while ready and len(running) < settings.workers:
                name = ready.popleft()
                told = {"name": name, "flight": flight, "timeout": settings.stage_timeout, "on_cluster": on_cluster}
                running[name] = runner.submit(run, told)
                running[name].add_done_callback(partial(_note_end, ended, name))
            if not running:
                return seconds, walk
            name = ended.get()
            result = running.pop(name).result(raise_on_failure=False)
            if isinstance(result, float):
                seconds[name] = result
            walk.end(name, ran=name in seconds)


def _note_end(ended: queue.SimpleQueue[str], name: str, future: PrefectFuture[float]) -> None:
    ended.put(name)


def main() -> int:
    """Run the flow once."""
    return run_flow(training, __doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
