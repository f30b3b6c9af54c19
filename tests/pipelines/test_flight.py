"""A flow of a task that has no champion is left out: nothing has failed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipelines.real_flows import PrefectServer
from tests.small_task import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("flow", ["monitoring", "retraining", "backfill"])
def test_a_task_without_a_champion_is_left_out(tmp_path: Path, server: PrefectServer, flow: str) -> None:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    env = {**kept, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "PREFECT_API_URL": server.url}
    run = subprocess.run(
        [sys.executable, "-m", f"pipelines.{flow}", "housing"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert run.returncode == 1
    (said,) = (line for line in run.stderr.splitlines() if line.startswith(f"{flow}: "))
    assert said.startswith(f"{flow}: NoChampion: housing has no champion in registry/housing")
    assert "make run TASK=housing" in said
    assert "Traceback" not in run.stderr
