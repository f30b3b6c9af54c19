"""Retraining as a flow on a real log: bad rows are told of, good ones make a new champion, one run at a time."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.e2e.conftest import Project, set_params
from tests.pipelines.real_flows import PrefectServer, Program, copy_built
from tests.retraining.replay import SECOND, log_rows
from tests.wait import wait_for
from tideline.catalog import get_task
from tideline.champion import champion_bundle
from tideline.layout import Layout
from tideline.predlog import open_store, store_url
from tideline.retraining.journal import read_lines

pytestmark = pytest.mark.slow

HOUSING = get_task("housing")
DAY = 86_400 * SECOND
NOW = time.time_ns() // 1000


@pytest.fixture
def own(built: Project, tmp_path: Path) -> Project:
    return copy_built(built, tmp_path / "own")


def log_labelled(project: Project, frame: pd.DataFrame, since: int, step: int) -> None:
    with open_store(store_url(project.path, {})) as store:
        log_rows(store, HOUSING, frame, champion_bundle(Layout("housing", project.path)).name, since, step=step)


def count_alerts(server: PrefectServer, status: str, outcome: str) -> int:
    found = server.ask("events", {"filter": {"event": {"name": ["tideline.alert"]}}})["events"]
    return sum((e["payload"]["status"], e["payload"]["subjects"][0]) == (status, outcome) for e in found)


def test_flow_tells_of_bad_rows_and_makes_a_new_champion_of_good_ones(own: Project, server: PrefectServer) -> None:
    """Homes that the model has not seen, of a world in which all are a quarter cheaper."""
    layout = Layout("housing", own.path)
    frame = pd.read_parquet(layout.split / "train.parquet").sample(2_600, random_state=1).reset_index(drop=True)
    frame = frame.assign(longitude=frame["longitude"] + 0.003, median_house_value=frame["median_house_value"] * 0.75)
    bad, good = frame[:600], frame[600:]
    log_labelled(own, bad.assign(total_bedrooms=np.nan), NOW - 92 * DAY, SECOND)
    first = champion_bundle(layout).name
    bad_before = count_alerts(server, "alarm", "quarantined")  # other tests share the server
    good_before = count_alerts(server, "recovered", "promoted")

    run = Program(own, "pipelines.retraining", "housing", "--reason", "prices fell")
    assert run.wait() == 0, run.said
    assert len(list(layout.quarantine.iterdir())) == 1 and champion_bundle(layout).name == first, run.said
    wait_for(lambda: count_alerts(server, "alarm", "quarantined") == bad_before + 1, 60)
    assert describe_artefact(server) == "Retraining of housing: quarantined"

    log_labelled(own, good, NOW - 91 * DAY, 91 * DAY // 2_001)
    run = Program(own, "pipelines.retraining", "housing", "--reason", "prices fell")
    run.wait_for_line("labelled rows,")
    second = Program(own, "pipelines.retraining", "housing", "--reason", "prices fell")
    assert second.wait() == 1 and "AlreadyRunning" in second.said, second.said
    assert run.wait() == 0, run.said
    assert champion_bundle(layout).name.startswith("v0002"), run.said
    assert describe_artefact(server) == "Retraining of housing: acted"
    wait_for(lambda: count_alerts(server, "recovered", "promoted") == good_before + 1, 60)


def test_a_failing_stage_is_told_and_fails_the_run(own: Project, server: PrefectServer) -> None:
    layout = Layout("housing", own.path)
    before = count_alerts(server, "alarm", "failed")
    frame = pd.read_parquet(layout.split / "train.parquet").sample(2_000, random_state=2).reset_index(drop=True)
    log_labelled(own, frame.assign(longitude=frame["longitude"] + 0.003), NOW - 91 * DAY, 91 * DAY // 2_001)
    stage = own.path / "src/tideline/split.py"
    stage.write_text(stage.read_text() + '\nraise RuntimeError("the stage is broken")\n')
    settings = yaml.safe_load((own.path / "params.yaml").read_text())["retraining"]
    set_params(own, retraining={**settings, "canary": 0.25})
    first = champion_bundle(layout).name
    run = Program(own, "pipelines.retraining", "housing", "--reason", "test")
    assert run.wait() == 1 and "the retraining of housing failed: `dvc" in run.said, run.said
    assert [line.outcome for line in read_lines(layout.decisions) if line.event == "end"] == ["failed"], run.said
    assert [line.facts["canary"] for line in read_lines(layout.decisions) if line.event == "begin"] == [0.25]
    assert champion_bundle(layout).name == first
    wait_for(lambda: count_alerts(server, "alarm", "failed") == before + 1, 60)
    assert describe_artefact(server) == "Retraining of housing: failed"


def describe_artefact(server: PrefectServer) -> str:
    body = {"artifacts": {"key": {"any_": ["retraining-housing"]}}, "sort": "UPDATED_DESC", "limit": 1}
    (artefact,) = server.ask("artifacts", body)
    return str(artefact["description"])
