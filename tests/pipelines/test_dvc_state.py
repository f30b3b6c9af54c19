"""What a killed DVC leaves behind, and how it is mended: only what is dead or torn."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.dvc_state import keep_lock_file, mend_lock_file, mend_rwlock
from tideline.contracts import TidelineError

WHOLE = "schema: '2.0'\nstages:\n  fetch@housing:\n    cmd: tideline fetch housing\n"
TORN = WHOLE + "    deps:\n    - path: data/hou"


def write_rwlock(root: Path, held: Any) -> Path:
    path = root / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(held if isinstance(held, str) else json.dumps(held))
    return path


@pytest.mark.parametrize("torn", ["", TORN, WHOLE[:-5], "schema: '2.0'\nstages:\n  fetch@housing:\n    cmd: 'tide"])
def test_torn_lock_file_is_replaced_by_its_last_copy(torn: str, tmp_path: Path) -> None:
    path = tmp_path / "dvc.lock"
    path.write_text(WHOLE)
    keep_lock_file(tmp_path)
    path.write_text(torn)
    assert "torn" in mend_lock_file(tmp_path)
    assert path.read_text() == WHOLE
    assert (tmp_path / "dvc.lock.broken").read_text() == torn
    assert mend_lock_file(tmp_path) == ""


def test_torn_lock_file_without_a_copy_is_an_error_that_leaves_it(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(TORN)
    with pytest.raises(TidelineError, match="no copy"):
        mend_lock_file(tmp_path)
    assert (tmp_path / "dvc.lock").read_text() == TORN


def test_torn_rwlock_begins_anew(tmp_path: Path) -> None:
    path = write_rwlock(tmp_path, '{"write": {"/a": {"pid": 12')
    assert "torn" in mend_rwlock(tmp_path)
    assert json.loads(path.read_text()) == {}


def test_locks_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    code = "import sys; print(1, flush=True); sys.stdin.read()"
    live = subprocess.Popen(
        [sys.executable, "-c", code, "repro", "-s", "x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert live.stdin is not None and live.stdout is not None
    live.stdout.readline()
    ours = {"pid": live.pid, "cmd": "/somewhere/dvc repro -s x"}
    dead = {"pid": gone.pid, "cmd": "dvc repro -s x"}
    reused = {"pid": live.pid, "cmd": "dvc repro -s another"}  # the number of a dead DVC, now another process's
    held = {"write": {"/a": dead, "/b": ours, "/c": reused}, "read": {"/d": [dead, ours], "/e": [dead]}}
    try:
        path = write_rwlock(tmp_path, held)
        assert "4 locks" in mend_rwlock(tmp_path)
        assert json.loads(path.read_text()) == {"write": {"/b": ours}, "read": {"/d": [ours]}}
        assert mend_rwlock(tmp_path) == ""
    finally:
        live.stdin.close()
        live.wait()
        live.stdout.close()


def test_younger_process_cannot_hold_an_older_lock(tmp_path: Path) -> None:
    import os

    path = write_rwlock(tmp_path, {"write": {"/a": {"pid": os.getpid(), "cmd": "dvc"}}})
    os.utime(path, (1_000_000_000, 1_000_000_000))
    assert "1 locks" in mend_rwlock(tmp_path)
    assert json.loads(path.read_text()) == {"write": {}}
