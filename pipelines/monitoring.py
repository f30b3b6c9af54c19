"""Flow `monitoring`: the verdict on the latest predictions of one task, shown and announced.

Run as `python -m pipelines.monitoring TASK`.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from pipelines.command import run_flow
from pipelines.flight import fly
from pipelines.verdicts import announce, show_verdict
from tideline.catalog import get_task
from tideline.layout import Layout
from tideline.monitor import monitor
from tideline.params import load_params
from tideline.predlog_cli import open_existing


@task(name="judge", cache_policy=NO_CACHE, persist_result=False)
def judge_task(name: str) -> str:
    """Judge the last predictions and keep the verdict in the store. Returns the status."""
    params, layout = load_params(), Layout(get_task(name).name)
    with open_existing() as store:
        verdict = monitor(params, layout, store)
    show_verdict(verdict)
    announce(verdict)
    get_run_logger().info("%s %s: %s, %d rows", verdict.task, verdict.version, verdict.status, verdict.rows)
    return verdict.status


@flow(name="monitoring", flow_run_name="monitoring-{task}", persist_result=False)
def monitoring(task: str) -> Any:
    """Judge the last predictions of `task`. Returns quiet, watch, alarm or undecided; raises TidelineError."""
    return fly("monitoring", task, f"monitoring-{task}", partial(watch, task))


def watch(name: str) -> str:
    """The work itself, with the time-out and the retries of params.yaml."""
    settings = load_params().flows
    run = judge_task.with_options(
        retries=settings.retries, retry_delay_seconds=settings.retry_delay, timeout_seconds=settings.run_timeout
    )
    return run(name)


def main() -> int:
    """Run the flow once."""
    return run_flow(monitoring, __doc__ or "", "monitoring")


if __name__ == "__main__":
    sys.exit(main())
