"""Two processes under torchrun that train one perceptron: what one process would have trained, written once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import psutil
import pytest
import yaml

from tests.small_task import ROOT
from tests.wait import wait_for
from tideline import catalog
from tideline.contracts import TidelineError
from tideline.families.torch_group import Group
from tideline.layout import Layout

LAYOUT = "housing"
ROWS = 1_003  # its fits' last shares are uneven


def write_project(root: Path, processes: int, **changes: Any) -> Layout:
    """What `tideline train housing torch_mlp` reads: a law with noise of 5,000 USD in three folds."""
    layout = Layout(LAYOUT, root)
    for folder in (layout.split, layout.features, layout.tune("torch_mlp")):
        folder.mkdir(parents=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    (root / "params.yaml").write_text(yaml.safe_dump({**params, "processes": processes, "device": "cpu"}))
    (layout.split / "split.json").write_text(json.dumps({"time_ordered": False}))
    random = np.random.default_rng(7)
    X = random.normal(size=(ROWS, 6)).astype(np.float32)
    y = 2e5 + 4e4 * np.tanh(X[:, 0] + X[:, 1] * X[:, 2]) + 2e4 * X[:, 3] + random.normal(0, 5e3, ROWS)
    arrays: dict[str, Any] = {"X": X, "y": y}
    for i in range(3):
        held = np.arange(i, ROWS, 3)
        rest = np.setdiff1d(np.arange(ROWS), held)
        arrays |= {f"X_fit_{i}": X[rest], f"X_val_{i}": X[held], f"idx_fit_{i}": rest, f"idx_val_{i}": held}
    np.savez(layout.features / "matrices.npz", **arrays)
    settings = {**catalog.get_model("torch_mlp").defaults["regression"], "batch": 65, "epochs": 8, **changes}
    (layout.tune("torch_mlp") / "best.json").write_text(json.dumps({"params": settings}))
    return layout


def start(layout: Layout, *command: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    return subprocess.Popen(
        [sys.executable, "-m", *(command or ("tideline.cli", "train", LAYOUT, "torch_mlp"))],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=layout.root,
    )  # fmt: skip


def finish(layout: Layout, *command: str) -> str:
    process = start(layout, *command)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def read_record(layout: Layout) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((layout.train("torch_mlp") / "train.json").read_text())
    return record


def test_shares_of_a_batch_weigh_as_the_whole_batch() -> None:
    batch, values = np.arange(7), np.random.default_rng(0).normal(size=7)
    parts = [Group(rank, 3).share(batch) for rank in range(3)]
    assert sorted(np.concatenate([rows for rows, _ in parts])) == list(range(7))
    assert np.mean([weight * values[rows].mean() for rows, weight in parts]) == pytest.approx(values.mean())
    with pytest.raises(TidelineError, match="2 rows cannot be shared by 3 processes"):
        Group(0, 3).share(batch[:2])


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """Without dropout it is the same arithmetic in another order; each process alone would see half of each batch."""
    one, two = (write_project(tmp_path / str(n), n, dropout=0.0) for n in (1, 2))
    finish(one)
    said = finish(two)
    alone, together = read_record(one), read_record(two)
    assert together["scores"] == pytest.approx(alone["scores"], rel=0.01)
    for part in ("train", "validation"):
        assert together["curve"][part] == pytest.approx(alone["curve"][part], rel=0.01)
    assert together["mean"] < 12_000  # the target's deviation is 36,000
    assert said.count("== train housing torch_mlp: done") == 1  # one of them speaks
    assert joblib.load(two.train("torch_mlp") / "model.joblib").rows_ == ROWS


@pytest.mark.slow
def test_with_dropout_the_score_is_the_same_within_noise(tmp_path: Path) -> None:
    one, two = (write_project(tmp_path / str(n), n) for n in (1, 2))
    finish(one)
    finish(two)
    assert read_record(two)["mean"] == pytest.approx(read_record(one)["mean"], rel=0.1)


@pytest.mark.slow
def test_torchrun_that_is_killed_leaves_nobody_and_nothing(tmp_path: Path) -> None:
    layout = write_project(tmp_path / "killed", 2, epochs=5_000, patience=5_000)
    process = start(layout)
    torchrun = psutil.Process(process.pid)
    wait_for(lambda: len(torchrun.children()) == 2 and all(c.cpu_times().user > 4 for c in torchrun.children()), 120)
    ranks = torchrun.children()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(ranks, timeout=10)
    assert not alive
    assert not layout.train("torch_mlp").exists()


@pytest.mark.slow
def test_a_model_of_one_process_refuses_torchrun(tmp_path: Path) -> None:
    layout = write_project(tmp_path / "naive", 2)
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    process = start(layout, *torchrun, "-m", "tideline.cli", "train", LAYOUT, "naive")
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "naive learns in one process; run it without torchrun" in said
    assert not layout.train("naive").exists()
