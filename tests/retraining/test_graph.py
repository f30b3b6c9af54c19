"""The whole way on real data: bikes of 2011, what came in January 2012 through a log, the real graph, the real gate."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.e2e.conftest import Project, copy_project, set_params
from tests.retraining.replay import log_rows
from tideline.catalog import get_task
from tideline.data_frame import conform
from tideline.layout import Layout
from tideline.pointer import read_pointer
from tideline.predlog import open_store, store_url

pytestmark = pytest.mark.slow


def test_a_month_of_labels_makes_a_new_champion_and_says_why(tmp_path: Path, data_dir: Path) -> None:
    project = copy_project(tmp_path, data_dir)
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    split = {"cuts": {"bikes": "2011-10-01"}, "ends": {"bikes": "2012-01-01"}}
    models = ["naive", "linear", "hist_gradient_boosting"]
    set_params(project, tasks=["bikes"], models=models, tuning={}, split=split)
    assert params["retraining"]["labels"] <= 700
    project.dvc("repro", "bundle@bikes")
    project.tideline("promote", "bikes")
    assert "no store" in project.tideline("retrain", "bikes", ok=False)
    labelled = tmp_path / "data/bikes/labelled"
    empty = read_files(labelled)
    replay(tmp_path, data_dir)

    waits, told = ask(project, "--json")
    assert waits == 3 and "no verdict on the champion yet" in told["reasons"][0]
    before = (tmp_path / "data/bikes/split/test.parquet").read_bytes()
    code, told = ask(project, "--reason", "January", "--json")
    assert code == 0 and told["name"] == "promoted", told["reasons"]
    fresh = told["verdict"]["evidence"]["fresh"]
    assert fresh["challenger"] < fresh["champion"] and fresh["gain_over_champion"]["low"] > 0
    assert (tmp_path / "data/bikes/split/test.parquet").read_bytes() == before
    manifest = json.loads((tmp_path / "models/bikes/bundle/manifest.json").read_text())
    assert manifest["provenance"]["labelled"]["rows"] == 741
    said = project.dvc("repro", "bundle@bikes")
    running = [line for line in said.splitlines() if line.startswith("Running stage")]
    assert running == ["Running stage 'fetch@bikes':"]
    # A person may ask for the same rows again: it comes to the same, and the champion stays.
    assert ask(project, "--reason", "again", "--json")[0] == 0
    champion = read_pointer(Layout("bikes", tmp_path))
    assert champion is not None and champion.version.startswith("v0002")

    snapshot = read_files(labelled)
    assert snapshot.keys() > empty.keys()
    project.tideline("rollback", "bikes", "--all")
    assert read_files(labelled) == empty
    assert "labelled" not in json.loads((tmp_path / "models/bikes/bundle/manifest.json").read_text())["provenance"]
    project.tideline("rollback", "bikes", "--all", "--to", "v0002")
    assert read_files(labelled) == snapshot


def read_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def replay(root: Path, data_dir: Path) -> None:
    task, layout = get_task("bikes"), Layout("bikes", root)
    assert task.source.read is not None
    frame = conform(task, task.source.read(data_dir / "bikes_hour.csv"))
    low, high = (float(np.datetime64(day, "D").astype(int)) for day in ("2012-01-01", "2012-02-01"))
    month = frame[(frame["dteday"] >= low) & (frame["dteday"] < high)].reset_index(drop=True)
    pointer = read_pointer(layout)
    assert pointer is not None and len(month) == 741
    with open_store(store_url(root)) as store:
        log_rows(store, task, month, pointer.version)


def ask(project: Project, *arguments: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "tideline.cli", "retrain", "bikes", *arguments]
    done = subprocess.run(command, cwd=project.path, env=project.env, capture_output=True, text=True)
    assert done.stdout, done.stderr[-4000:]
    return done.returncode, json.loads(done.stdout)
