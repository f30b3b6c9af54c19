"""Schedules from params.yaml: what is taken, and what a mistake is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pipelines.deployments import FLOWS, build_deployments
from pipelines.schedules import read_schedule
from tests.small_task import small_params
from tideline.contracts import TidelineError

FLOW_SETTINGS = small_params().flows


def test_cron_interval_and_nothing_are_taken() -> None:
    cron = read_schedule("*/15 * * * *", "x")
    assert cron is not None and cron.model_dump()["cron"] == "*/15 * * * *" and cron.timezone == "UTC"
    every = read_schedule("every 90 seconds", "x")
    assert every is not None and every.model_dump()["interval"] == timedelta(seconds=90)
    assert read_schedule("", "x") is None


@pytest.mark.parametrize("text", ["61 * * * *", "* * * *", "hourly, please", "every 0 seconds", "every -1 hours"])
def test_mistake_names_the_place_and_the_way_out(text: str) -> None:
    with pytest.raises(TidelineError, match=r"flows\.schedules\.monitoring is .*; expected"):
        read_schedule(text, "params.yaml: flows.schedules.monitoring")


def test_each_flow_is_deployed_for_each_task_one_run_at_a_time() -> None:
    found = build_deployments(["housing", "bikes"], FLOW_SETTINGS)
    assert {(d.flow_name, d.name) for d in found} == {(flow, task) for flow in FLOWS for task in ("housing", "bikes")}
    for deployment in found:
        assert deployment.concurrency_limit == 1
        assert deployment.parameters == {"task": deployment.name}
        assert {"tideline", deployment.name, deployment.flow_name} <= set(deployment.tags)
        scheduled = getattr(FLOW_SETTINGS.schedules, str(deployment.flow_name))
        assert len(deployment.schedules or []) == (1 if scheduled else 0)


def test_bad_schedule_in_params_is_an_error() -> None:
    bad = replace(FLOW_SETTINGS, schedules=replace(FLOW_SETTINGS.schedules, backfill="noon"))
    with pytest.raises(TidelineError, match=r"flows\.schedules\.backfill"):
        build_deployments(["housing"], bad)
