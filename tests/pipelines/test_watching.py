"""Monitoring and backfill as flows over a real log: verdicts, artefacts, events, going on after a kill."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines.past_windows import DAY, HOUR
from tests.e2e.conftest import Project
from tests.pipelines.logged import log_answers
from tests.pipelines.real_flows import PrefectServer, Program
from tests.wait import wait_for
from tideline.layout import Layout
from tideline.predlog import Label, Store, open_store, store_url

pytestmark = pytest.mark.slow

ROWS = 250
TODAY = time.time_ns() // 1000 // DAY * DAY


def log_rows(store: Store, root: Path, start: int) -> None:
    """The champion's answers to test rows, one a second."""
    frame = pd.read_parquet(Layout("housing", root).split / "test.parquet").sample(ROWS, random_state=start % 1000)
    log_answers(store, root, frame, start)


@pytest.fixture
def store(built: Project) -> Iterator[Store]:
    """Four days of a log, six hours' windows with rows in the first of each day but the third."""
    if not (built.path / "registry/housing/champion.json").exists():
        built.tideline("promote", "housing")
    with open_store(store_url(built.path, {})) as store:
        for day in (4, 3, 1):
            log_rows(store, built.path, TODAY - day * DAY + HOUR)
        yield store


def test_monitoring_and_backfill_over_a_real_log(built: Project, server: PrefectServer, store: Store) -> None:
    since = time.strftime("%Y-%m-%d", time.gmtime((TODAY - 5 * DAY) / 1e6))
    command = ("pipelines.backfill", "housing", "--since", since, "--hours", "6")
    killed = Program(built, *command)
    wait_for(lambda: store.list_verdicts("housing") or killed.process.poll() is not None, 240)
    killed.kill()
    assert 1 <= len(store.list_verdicts("housing")) < 3, killed.said
    again = Program(built, *command)
    assert again.wait() == 0, again.said
    verdicts = store.list_verdicts("housing")
    assert [v.first for v in verdicts] == [TODAY - day * DAY + HOUR for day in (1, 3, 4)]
    assert [v.judged for v in verdicts] == sorted((v.judged for v in verdicts), reverse=True)
    idle = Program(built, *command)
    assert idle.wait() == 0 and "0 of " in idle.said, idle.said
    assert len(store.list_verdicts("housing")) == 3
    (table,) = store.iterate("housing", TODAY - 3 * DAY, TODAY - 2 * DAY)
    store.record_labels([Label(name, 100_000.0) for name in table["prediction_id"].to_pylist()])
    late = Program(built, *command)
    assert late.wait() == 0 and "1 of " in late.said, late.said
    assert [json.loads(v.verdict)["errors"]["labelled"] for v in store.list_verdicts("housing")] == [0, ROWS, 0, 0]
    judged = [row["rows"] for row in read_table(server, "backfill-housing")]
    assert judged in ([ROWS], [ROWS, ROWS])  # what the killed run had left

    watch = Program(built, "pipelines.monitoring", "housing")
    assert watch.wait() == 0, watch.said
    last = store.list_verdicts("housing")[0]
    assert last.rows >= 2 * ROWS
    (artefact,) = server.ask("artifacts", {"artifacts": {"key": {"any_": ["verdict-housing"]}}, "limit": 1})
    assert last.version in artefact["data"] and artefact["description"] == last.status
    wanted = {"filter": {"event": {"name": [f"tideline.verdict.{last.status}"]}}}
    wait_for(lambda: server.ask("events", wanted)["events"], 60)
    event = server.ask("events", wanted)["events"][0]
    assert event["resource"]["prefect.resource.id"] == "tideline.task.housing"


def test_training_leaves_what_a_person_looks_for_and_works_side_by_side(built: Project, server: PrefectServer) -> None:
    """Of the run that built the project, with two workers."""
    stages = {row["stage"]: row["outcome"] for row in read_table(server, "stages-housing")}
    assert {"split@housing", "train@housing-linear", "bundle@housing"} <= stages.keys()
    assert set(stages.values()) <= {"ran", "up to date"}
    keys = {"any_": ["leaderboard-housing", "report-housing"]}
    texts = {found["key"]: found["data"] for found in server.ask("artifacts/latest", {"artifacts": {"key": keys}})}
    winner = json.loads((Layout("housing", built.path).selection / "selection.json").read_text())["winner"]
    assert f"| **{winner}** |" in texts["leaderboard-housing"]
    assert (Layout("housing", built.path).reports / "report.html").as_uri() in texts["report-housing"]
    body = {"flows": {"name": {"any_": ["training"]}}, "sort": "EXPECTED_START_TIME_DESC", "limit": 200}
    spans = [
        (run["start_time"], run["end_time"])
        for run in server.ask("task_runs", body)
        if run["name"].startswith("train@housing-") and run["end_time"]
    ]
    assert any(a != b and a[0] < b[1] and b[0] < a[1] for a in spans for b in spans), spans


def read_table(server: PrefectServer, key: str) -> list[dict[str, Any]]:
    """The rows of a table that is an artefact, in its first version that has any."""
    body = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC", "limit": 50}
    tables: list[list[dict[str, Any]]] = [json.loads(found["data"]) for found in server.ask("artifacts", body)]
    return [table for table in tables if table][-1]
