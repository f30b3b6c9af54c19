"""Schedules with a real server and real processes: a run appears and completes; what was missed runs once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import Project
from tests.pipelines.real_flows import SCHEDULES, PrefectServer, Program
from tests.wait import wait_for

pytestmark = pytest.mark.slow

EVERY = 10  # seconds


@pytest.fixture
def own(tmp_path: Path) -> Iterator[PrefectServer]:
    server = PrefectServer(tmp_path / "own")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def scheduled(built: Project, own: PrefectServer) -> Iterator[Project]:
    """The built project, its training on a schedule of a few seconds, with a server of its own."""
    path = built.path / "params.yaml"
    text = path.read_text()
    params = yaml.safe_load(text)
    params["flows"]["schedules"] = {**SCHEDULES, "training": f"every {EVERY} seconds"}
    path.write_text(yaml.safe_dump(params))
    yield replace(built, env={**built.env, "PREFECT_API_URL": own.url})
    path.write_text(text)


def ask_runs(server: PrefectServer) -> list[dict[str, Any]]:
    """All scheduled runs of the training flow that were due by now, the oldest first."""
    body = {"sort": "EXPECTED_START_TIME_ASC", "limit": 200, "flows": {"name": {"any_": ["training"]}}}
    found: list[dict[str, Any]] = server.ask("flow_runs", body)
    return [run for run in found if run["auto_scheduled"] and read_time(run["expected_start_time"]) <= time.time()]


def read_time(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def find(runs: list[dict[str, Any]], kind: str, since: float = 0.0, until: float = 2e10) -> list[dict[str, Any]]:
    """Runs in a type of state that were due within a span."""
    return [r for r in runs if r["state_type"] == kind and since <= read_time(r["expected_start_time"]) < until]


def test_schedule_runs_survives_kills_and_is_made_up_for_once(scheduled: Project, own: PrefectServer) -> None:
    deployments = Program(scheduled, "pipelines.deployments", "--task", "housing")
    again: Program | None = None
    try:
        # With a database library that Prefect cannot work with, no run would ever appear.
        wait_for(lambda: find(ask_runs(own), "COMPLETED"), 240)
        wait_for(lambda: find(ask_runs(own), "RUNNING"), 120)
        deployments.kill_tree()
        down = time.time()
        own.kill()
        time.sleep(3.5 * EVERY)
        own.start()
        up = time.time()
        again = Program(scheduled, "pipelines.deployments", "--task", "housing")
        wait_for(lambda: find(ask_runs(own), "COMPLETED", since=down), 240)
        wait_for(lambda: find(ask_runs(own), "COMPLETED", since=up), 240)
        runs = ask_runs(own)
        missed = [r for r in runs if down <= read_time(r["expected_start_time"]) < up]
        assert len(missed) >= 3
        begun = [r for r in missed if r["state_type"] not in ("CANCELLED", "SCHEDULED")]
        # None of them where one that fell due after the return was the first to begin: it does for all others.
        assert len(begun) <= 1, [(r["expected_start_time"], r["state_name"]) for r in missed]
        made_up_for = [r for r in missed if r["state_name"] == "MadeUpFor"]
        assert len(made_up_for) >= len(missed) - 1
        assert find(runs, "CRASHED", until=down), "the killed run is still believed to be at work"
        assert "whose process is gone" in again.said
        spans = sorted(
            (read_time(r["start_time"]), read_time(r["end_time"])) for r in runs if r["state_type"] == "COMPLETED"
        )
        assert all(end <= start for (_, end), (start, _) in pairwise(spans)), spans
    finally:
        deployments.kill_tree()
        if again is not None:
            again.kill_tree()


def test_without_a_server_the_deployments_say_what_they_need(built: Project) -> None:
    env = {key: value for key, value in built.env.items() if key != "PREFECT_API_URL"}
    program = Program(replace(built, env=env), "pipelines.deployments")
    assert program.wait() == 1
    assert "PREFECT_API_URL" in program.said and "Traceback" not in program.said
