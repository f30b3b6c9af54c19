"""Flow `monitoring`: the verdict on the latest predictions of one task, told, shown and drawn.

Run as `python -m pipelines.monitoring TASK`.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE

from pipelines.artefacts import artefact_key
from pipelines.command import run_flow
from pipelines.flight import fly
from pipelines.verdicts import announce, show_verdict
from tideline.alerts import send_alerts
from tideline.catalog import get_task
from tideline.drift_report import draw_report
from tideline.layout import Layout
from tideline.monitor import WindowVerdict, monitor
from tideline.params import load_params
from tideline.predlog_cli import open_existing


@task(name="judge", cache_policy=NO_CACHE, persist_result=False)
def judge_task(name: str) -> WindowVerdict:
    """Judge the last predictions, keep the verdict in the store, and tell whom it concerns."""
    params, layout = load_params(), Layout(get_task(name).name)
    with open_existing() as store:
        verdict = monitor(params, layout, store)
        sent = send_alerts(params, store, verdict)
    show_verdict(verdict)
    announce(verdict, sent)
    log = get_run_logger()
    log.info("%s %s: %s, %d rows", verdict.task, verdict.version, verdict.status, verdict.rows)
    for line in sent.describe().splitlines():
        (log.warning if sent.failed else log.info)(line)
    return verdict


@task(name="draw", cache_policy=NO_CACHE, persist_result=False)
def draw_task(name: str, verdict: WindowVerdict) -> None:
    """Draw the verdict's window with Evidently: a page, and a run of the workspace that the dashboard shows."""
    params, layout = load_params(), Layout(get_task(name).name)
    with open_existing() as store:
        drawn = draw_report(params, layout, store, verdict)
    link = drawn.page.resolve().as_uri()
    create_link_artifact(link, key=artefact_key("window", name), description=drawn.sample)
    get_run_logger().info("%s; %s", drawn.page, drawn.sample)


@flow(name="monitoring", flow_run_name="monitoring-{task}", persist_result=False)
def monitoring(task: str) -> Any:
    """Judge the last predictions of `task`. Returns quiet, watch, alarm or undecided; raises TidelineError."""
    return fly("monitoring", task, f"monitoring-{task}", partial(watch, task))


def watch(name: str) -> str:
    """The work itself, with the time-out and the retries of params.yaml."""
    settings = load_params().flows
    options: dict[str, Any] = {
        "retries": settings.retries, "retry_delay_seconds": settings.retry_delay,
        "timeout_seconds": settings.run_timeout,
    }  # fmt: skip
    verdict = judge_task.with_options(**options)(name)
    if verdict.rows:
        draw_task.with_options(**options)(name, verdict)
    return verdict.status


def main() -> int:
    """Run the flow once."""
    return run_flow(monitoring, __doc__ or "", "monitoring")


if __name__ == "__main__":
    sys.exit(main())
