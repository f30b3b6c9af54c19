"""Flow `backfill`: verdicts for past windows that have none yet, or more labels by now, the oldest first.

Run as `python -m pipelines.backfill TASK [--since DAY] [--until DAY] [--hours HOURS]`.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from pipelines.command import run_flow
from pipelines.flight import fly
from pipelines.past_windows import find_unjudged, list_windows
from pipelines.verdicts import announce, show_backfill
from tideline.catalog import get_task
from tideline.champion import champion_bundle
from tideline.layout import Layout
from tideline.monitor import Span, WindowVerdict, monitor
from tideline.params import load_params
from tideline.predlog.export import parse_time
from tideline.predlog_cli import open_existing


@task(name="judge-window", task_run_name="{span.since}", cache_policy=NO_CACHE, persist_result=False)
def judge_window_task(name: str, span: Span) -> WindowVerdict:
    """Judge one window and keep the verdict in the store."""
    with open_existing() as store:
        verdict = monitor(load_params(), Layout(name), store, span)
    announce(verdict)
    get_run_logger().info("%s %s: %s, %d rows", verdict.task, verdict.version, verdict.status, verdict.rows)
    return verdict


@flow(name="backfill", flow_run_name="backfill-{task}", persist_result=False)
def backfill(task: str, since: str | None = None, until: str | None = None, hours: float | None = None) -> Any:
    """Judge the whole windows of `hours` between `since` and `until` (UTC) that have no verdict yet, or labels that it
    did not see, in order.

    Without `since`: from the day `flows.backfill_days` ago; without `until`: until now; without `hours`:
    `flows.backfill_hours`. Returns how many were judged; a run that was killed is gone on with by the next.
    """
    return fly("backfill", task, f"backfill-{task}", partial(judge_past, task, since, until, hours))


def judge_past(name: str, since: str | None, until: str | None, hours: float | None) -> int:
    """The work itself."""
    settings, layout = load_params().flows, Layout(get_task(name).name)
    now = time.time_ns() // 1000
    start = None if since is None else parse_time(since)
    end = now if until is None else min(parse_time(until), now)
    length = settings.backfill_hours if hours is None else hours
    windows = list_windows(start, end, length, settings.backfill_days)
    version = champion_bundle(layout).name
    with open_existing() as store:
        todo = find_unjudged(store, name, version, windows)
    get_run_logger().info(
        "%d of %d windows have no verdict of %s yet, or more labels than it saw", len(todo), len(windows), version
    )
    run = judge_window_task.with_options(
        retries=settings.retries, retry_delay_seconds=settings.retry_delay, timeout_seconds=settings.run_timeout
    )
    show_backfill(name, [run(name, span) for span in todo])
    return len(todo)


def main() -> int:
    """Run the flow once."""
    return run_flow(backfill, __doc__ or "", "backfill", since={}, until={}, hours={"type": float})


if __name__ == "__main__":
    sys.exit(main())
