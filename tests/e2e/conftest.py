"""A copy of the project in a folder of its own, with few models, built once on the real housing data."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODELS = ["naive", "linear", "decision_tree", "hist_gradient_boosting"]


@dataclass(frozen=True)
class Project:
    """A project folder, and how to run a command in it."""

    path: Path
    env: dict[str, str]

    def run(self, *command: str, ok: bool = True) -> str:
        """Run with this Python's tools; output as text. Fails the test on a bad exit code if `ok`."""
        done = subprocess.run(command, cwd=self.path, env=self.env, capture_output=True, text=True)
        said = done.stdout + done.stderr
        assert (done.returncode == 0) is ok, f"{command} exited {done.returncode}:\n{said[-6000:]}"
        return said

    def tideline(self, *arguments: str, ok: bool = True) -> str:
        return self.run(sys.executable, "-m", "tideline.cli", *arguments, ok=ok)

    def dvc(self, *arguments: str, ok: bool = True) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, ok=ok)


def copy_project(target: Path, data_dir: Path) -> Project:
    """Everything under version control, copied; the code that runs is the copy's."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if name == "dvc.lock" or not (ROOT / name).exists():
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    subprocess.run(["git", "init", "-q"], cwd=target, check=True)
    env = {
        **os.environ,
        "PYTHONPATH": f"{target / 'src'}{os.pathsep}{target}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TIDELINE_DATA_DIR": str(data_dir),
    }
    return Project(target, env)


def set_params(project: Project, **changes: object) -> None:
    """Change top-level keys of the copy's params.yaml."""
    path = project.path / "params.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Project:
    copy = copy_project(tmp_path_factory.mktemp("project"), data_dir)
    set_params(copy, tasks=["housing"], models=MODELS, tuning={})
    copy.dvc("repro", "bundle@housing")
    return copy
