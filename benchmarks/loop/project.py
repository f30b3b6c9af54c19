"""A project of its own for a replay: bikes, trained on 2011, with its first champion."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.graph import ROOT, copy_project

TASK = "bikes"
# A week is a window. The year passes in minutes, so that pauses by the clock say nothing here: labels make the pause.
SETTINGS: dict[str, Any] = {
    "tasks": [TASK],
    "models": ["naive", "hist_gradient_boosting", "lightgbm"],
    "tuning": {},
    "blend": {"candidates": ["hist_gradient_boosting", "lightgbm"], "members": 2},
    "split": {"cuts": {TASK: "2011-11-01"}, "ends": {TASK: "2012-01-01"}},
    "monitoring": {"rows": 168, "least": 100, "persist": 2},
    "retraining": {"labels": 600, "cooldown_hours": 0.0, "budget": 4},
}


def make_project(folder: Path) -> None:
    """Copy the code, build the graph on 2011 and promote its bundle."""
    copy_project(folder)
    external = ROOT / "data" / "external"
    if external.is_dir():
        (folder / "data").mkdir(exist_ok=True)
        (folder / "data" / "external").symlink_to(external)
    change_params(folder, SETTINGS)
    run(folder, "-m", "dvc", "repro", f"bundle@{TASK}")
    run(folder, "-m", "tideline.cli", "promote", TASK)


def copy_for(base: Path, folder: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """The same project for one policy."""
    shutil.copytree(base, folder, symlinks=True)
    change_params(folder, changes)


def change_params(folder: Path, changes: Mapping[str, Any]) -> None:
    """Lay `changes` over params.yaml, section by section."""
    path = folder / "params.yaml"
    content = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        old = content[key]
        content[key] = _lay_over(old, value) if isinstance(old, dict) and key != "tuning" else value
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def run(folder: Path, *command: str, accept: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
    """Python with these arguments in the project's folder. Ends the benchmark if it fails."""
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment(folder), capture_output=True, text=True
    )
    if done.returncode not in accept:
        sys.exit(
            f"{' '.join(command)} in {folder} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
    return done


def environment(folder: Path) -> dict[str, str]:
    """So that the folder's own code runs, on its own store."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TIDELINE_") or k == "TIDELINE_DATA_DIR"}
    return {
        **kept,
        "PYTHONPATH": f"{folder / 'src'}{os.pathsep}{folder}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "DO_NOT_TRACK": "1",
        "BENTOML_DO_NOT_TRACK": "True",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def _lay_over(old: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **old,
        **{k: _lay_over(old[k], v) if isinstance(v, Mapping) and isinstance(old.get(k), dict) and k == "history" else v
           for k, v in new.items()},
    }  # fmt: skip
