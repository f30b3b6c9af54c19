"""The training flow on real data with kill -9 in each kind of stage: what was finished is never done again."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import Project
from tests.pipelines.real_flows import PrefectServer, Program, finished_stages, make_project, marked_processes
from tests.wait import wait_for

pytestmark = pytest.mark.slow

ALWAYS = {"fetch@housing"}  # it looks for better data in every run
KINDS = [
    "fetch@housing", "validate@housing", "split@housing", "search-preparation@housing", "features@housing",
    "train@housing-", "export@housing-", "blend@housing", "select@housing", "evaluate@housing", "bundle@housing",
]  # fmt: skip


def test_flow_killed_in_each_stage_is_gone_on_with(tmp_path: Path, data_dir: Path, server: PrefectServer) -> None:
    project = make_project(tmp_path, data_dir, server.url)
    assert {name.split("@")[0] for name in yaml.safe_load((tmp_path / "dvc.yaml").read_text())["stages"]} == {
        kind.split("@")[0] for kind in KINDS
    }
    for kind in KINDS:
        before = finished_stages(project)
        run = Program(project, "pipelines.training", "housing")
        run.wait_for_line(f"Running stage '{kind}")
        run.kill()
        wait_for(lambda: not marked_processes(project), 60)
        assert not set(run.stages) & before - ALWAYS, (kind, run.stages)
        assert not [name for name in finished_stages(project) if name.startswith(kind)] or kind.endswith("-")
    before = finished_stages(project)
    last = Program(project, "pipelines.training", "housing")
    assert last.wait() == 0, last.said
    assert set(last.stages) == ALWAYS | {"bundle@housing"} and "bundle@housing" not in before
    idle = Program(project, "pipelines.training", "housing")
    assert idle.wait() == 0, idle.said
    assert idle.stages == ["fetch@housing"]
    assert json.loads((tmp_path / "models/housing/bundle/manifest.json").read_text())["provenance"]["rows"] == 20_640


def test_killed_stage_is_tried_again_by_the_flow_itself(built: Project) -> None:
    settings = yaml.safe_load((built.path / "params.yaml").read_text())
    model = built.path / "src/tideline/models/decision_tree.py"
    text = model.read_text()
    settings["flows"]["retry_delay"] = 0.1
    (built.path / "params.yaml").write_text(yaml.safe_dump(settings))
    try:
        model.write_text(text + "\n# changed\n")
        run = Program(built, "pipelines.training", "housing")
        run.wait_for_line("Running stage 'train@housing-decision_tree'")
        worker = next(p for p in marked_processes(built) if "train@housing-decision_tree" in p.cmdline())
        os.kill(worker.pid, signal.SIGKILL)
        assert run.wait() == 0, run.said
    finally:
        model.write_text(text)
    assert run.stages.count("train@housing-decision_tree") >= 2  # the error of the first one quotes its lines
    assert "killed by SIGKILL" in run.said
    assert set(run.stages) & {"train@housing-linear", "train@housing-naive", "split@housing"} == set()


def test_second_run_of_the_same_task_does_not_begin(built: Project) -> None:
    first = Program(built, "pipelines.training", "housing")
    first.wait_for_line("Running stage 'fetch@housing'")
    second = Program(built, "pipelines.training", "housing")
    os.kill(first.process.pid, signal.SIGSTOP)  # so that it is at work for as long as the other needs
    try:
        assert second.wait() == 1
    finally:
        os.kill(first.process.pid, signal.SIGCONT)
    assert "AlreadyRunning" in second.said and f"process {first.process.pid}" in second.said
    assert second.stages == []
    assert first.wait() == 0, first.said


def test_flow_goes_on_when_the_server_is_killed_and_nothing_is_done_again(
    tmp_path: Path, data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = PrefectServer(tmp_path_factory.mktemp("own"))
    own.start()
    try:
        project = make_project(tmp_path, data_dir, own.url)
        run = Program(project, "pipelines.training", "housing")
        run.wait_for_line("Running stage 'validate@housing'")
        own.kill()
        wait_for(lambda: "split@housing" in finished_stages(project), 120)
        run.kill()
        wait_for(lambda: not marked_processes(project), 60)
        before = finished_stages(project)
        own.start()
        again = Program(project, "pipelines.training", "housing")
        again.wait_for_line("Running stage 'train@")
        again.kill()
        assert not set(again.stages) & before - ALWAYS
    finally:
        own.kill()


def test_without_a_server_the_flow_runs_and_leaves_no_process(built: Project) -> None:
    env = {key: value for key, value in built.env.items() if key != "PREFECT_API_URL"}
    project = Project(built.path, env)
    killed = Program(project, "pipelines.training", "housing")
    killed.wait_for_line("Running stage 'fetch@housing'")
    killed.kill()
    run = Program(project, "pipelines.training", "housing")
    assert run.wait() == 0, run.said
    assert "ended what a dead run had left" in run.said  # the killed one's temporary server
    assert run.stages == ["fetch@housing"]
    wait_for(lambda: not marked_processes(project), 60)
