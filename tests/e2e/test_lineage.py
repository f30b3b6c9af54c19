"""Lineage on a real small graph: a version is proved, a difference is found, and everything comes back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import Project, copy_project, set_params
from tideline.layout import Layout
from tideline.ledger import read_ledger
from tideline.lineage.cache import hold_dvc
from tideline.lineage.graph_lock import hash_path, list_outs, read_lock, select_stages

pytestmark = pytest.mark.slow
STOPS = ("rollback", "replace_file", "write_lock", "call_dvc", "_put_the_rest", "_prove", "_finish")
KILLER = """
import os, sys
from tideline.layout import Layout
from tideline.lineage import restore
setattr(restore, sys.argv[1], lambda *_, **__: os.kill(os.getpid(), 9))
restore.restore(Layout("housing"))
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Iterator[Project]:
    """A project with two versions: the second has another seed and one more model."""
    copy = copy_project(tmp_path_factory.mktemp("lineage"), data_dir)
    set_params(copy, tasks=["housing"], models=["naive", "linear"], tuning={})
    copy.dvc("repro", "bundle@housing")
    copy.dvc("push")
    copy.tideline("promote", "housing")
    set_params(copy, seed=7, models=["naive", "linear", "decision_tree"])
    copy.dvc("repro", "bundle@housing")
    copy.dvc("push")
    copy.tideline("canary", "housing", "--share", "0.2")
    copy.tideline("promote", "housing", "--version", "v0002")
    yield copy


@pytest.fixture
def project(two: Project, tmp_path: Path) -> Project:
    """A copy of it that a test may change."""
    shutil.copytree(two.path, tmp_path / "project", symlinks=True)
    path = tmp_path / "project"
    return Project(path, {**two.env, "PYTHONPATH": f"{path / 'src'}{os.pathsep}{path}"})


def read_outs(project: Project) -> dict[str, str | None]:
    lock = read_lock(project.path / "dvc.lock")
    assert lock is not None
    return {o.path: hash_path(project.path / o.path) for o in list_outs(select_stages(lock, "housing"))}


def find_champion(project: Project) -> str:
    return str(json.loads((project.path / "registry/housing/champion.json").read_text())["version"])


def test_a_version_is_proved_and_a_difference_is_found(project: Project) -> None:
    said = project.tideline("audit", "housing", "v0001")
    assert "proved" in said and "not as it was" not in said
    # A model that learns otherwise, under the same name: announced first, then found where it begins.
    path = project.path / "src/tideline/models/linear.py"
    text = path.read_text()
    assert '"alpha": 1e-3' in text
    path.write_text(text.replace('"alpha": 1e-3', '"alpha": 2e-3'))
    done = subprocess.run(
        [sys.executable, "-m", "tideline.cli", "audit", "housing", "v0001"],
        cwd=project.path, env=project.env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    first = done.stdout.splitlines()[0]
    assert "not as it was: the code is not that of the version" in first and "models/linear.py" in first
    assert "stage train@housing-linear is the first whose output differs" in done.stdout


def test_everything_comes_back_and_status_is_clean(project: Project) -> None:
    shutil.rmtree(project.path / ".dvc/cache")
    project.dvc("fetch")  # of the second version: what the first one needs comes from the remote by itself
    params = project.path / "params.yaml"
    mine = params.read_text() + "# not committed\n"
    params.write_text(mine)
    command = [sys.executable, "-m", "tideline.cli", "rollback", "housing", "--all"]
    before = (project.path / "dvc.lock").read_bytes()
    with hold_dvc(project.path):  # as another DVC does
        waiting = subprocess.Popen(command, cwd=project.path, env=project.env, stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(15)
        assert (project.path / "dvc.lock").read_bytes() == before and params.read_text() == mine
    said, _ = waiting.communicate(timeout=120)
    assert "rolled back" in said and find_champion(project).startswith("v0001")
    assert yaml.safe_load(params.read_text())["seed"] == 42
    assert [p.read_text() for p in project.path.glob("params.before-*.yaml")] == [mine]
    assert json.loads(project.dvc("status", "--json").splitlines()[-1]) == {"fetch@housing": ["always changed"]}
    assert not (project.path / "work/housing/train/decision_tree").exists()
    why = project.tideline("why", "housing", "v0002")
    for words in ("seed: 42 -> 7", "canary from", "20%", "rolled back to v0001"):
        assert words in why


def test_what_is_in_neither_cache_nor_remote_is_named_and_nothing_changes(project: Project) -> None:
    kept = project.path / "registry/housing/lineage"
    (version,) = [p.name for p in kept.iterdir() if p.name.startswith("v0001")]
    lock = read_lock(kept / version / "dvc.lock")
    assert lock is not None
    (lost,) = [o for o in list_outs(lock["stages"]) if o.path == "work/housing/train/linear"]
    for store in (".dvc/cache", ".dvcstore"):
        (project.path / store / "files/md5" / lost.md5[:2] / lost.md5[2:]).unlink()
    before = read_outs(project), (project.path / "dvc.lock").read_bytes(), (project.path / "params.yaml").read_bytes()
    ledger = (project.path / "registry/housing/ledger.jsonl").read_bytes()
    said = project.tideline("rollback", "housing", "--all", ok=False)
    assert "nothing was changed" in said and f"work/housing/train/linear ({lost.md5})" in said
    after = read_outs(project), (project.path / "dvc.lock").read_bytes(), (project.path / "params.yaml").read_bytes()
    assert after == before and (project.path / "registry/housing/ledger.jsonl").read_bytes() == ledger


@pytest.mark.parametrize("step", STOPS)
def test_killed_at_any_step_the_same_command_completes_it(project: Project, step: str) -> None:
    mine = (project.path / "params.yaml").read_text()
    killed = subprocess.run([sys.executable, "-c", KILLER, step], cwd=project.path, env=project.env)
    assert killed.returncode == -signal.SIGKILL
    unfinished = "was not finished: model, params.yaml, dvc.lock and data may be of different versions"
    assert unfinished in project.tideline("status", "housing")
    project.tideline("rollback", "housing", "--all")
    assert find_champion(project).startswith("v0001")
    assert [p.read_text() for p in project.path.glob("params.before-*.yaml")] == [mine]
    assert json.loads(project.dvc("status", "--json").splitlines()[-1]) == {"fetch@housing": ["always changed"]}
    entries = read_ledger(Layout("housing", project.path).registry / "ledger.jsonl").entries
    assert [e.action for e in entries].count("rolled back") == 1
    assert [e.action for e in entries].count("data restored") == 1
    assert not (project.path / "registry/housing/restoring.json").exists()
    assert "not finished" not in project.tideline("status", "housing")
