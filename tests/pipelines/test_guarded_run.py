"""Programs that end with whoever started them: real processes, real kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipelines.guarded_run import run_guarded
from pipelines.orphans import MARK, end_orphans, mark
from pipelines.single_flight import Busy, single_flight
from tests.wait import wait_for
from tideline.contracts import TidelineError

# A shell between, as between DVC and a verb; the inner one writes its number and stays.
NEST = "import subprocess, sys; sys.exit(subprocess.run(['sh', '-c', 'echo inner $$; exec sleep 600']).returncode)"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which programs are run by the names of their files; this project's modules as well."""
    root = Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{root}{os.pathsep}{root / 'src'}")
    (tmp_path / "nest.py").write_text(NEST)
    return tmp_path


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_lines_arrive_and_a_failure_says_the_last_ones(module: Path) -> None:
    (module / "fails.py").write_text("print('one')\nprint()\nprint('two')\nraise SystemExit(7)")
    lines: list[str] = []
    with pytest.raises(TidelineError, match=r"exit code 7(.|\n)*two"):
        run_guarded("x", ["fails"], lines.append, 60, module)
    assert lines == ["one", "two"]
    assert run_guarded("x", ["fails"], lines.append, 60, module, fine=(0, 7)) == 7


def test_time_out_kills_the_whole_group(module: Path) -> None:
    lines: list[str] = []
    with pytest.raises(TidelineError, match="longer than 2 s"):
        run_guarded("x", ["nest"], lines.append, 2, module)
    wait_for(lambda: not is_running(int(lines[0].split()[1])))  # killed, it needs a moment to be gone


def test_killed_leader_takes_its_children_along(module: Path) -> None:
    inner: list[int] = []

    def kill_leader(line: str) -> None:
        inner.append(int(line.split()[1]))
        leader = next(p for p in psutil.Process().children() if "pipelines.guarded_child" in p.cmdline())
        leader.kill()

    with pytest.raises(TidelineError, match="killed by SIGKILL"):
        run_guarded("x", ["nest"], kill_leader, 60, module)
    wait_for(lambda: not is_running(inner[0]))


def test_nothing_outlives_a_killed_parent(module: Path) -> None:
    code = (
        "from pipelines.guarded_run import run_guarded; run_guarded('x', ['nest'], lambda s: print(s, flush=True), 60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=module, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    inner = int(parent.stdout.readline().split()[1])
    assert is_running(inner)
    parent.kill()
    parent.wait()
    wait_for(lambda: not is_running(inner))
    parent.stdout.close()


def test_orphans_of_the_same_flight_are_ended_and_no_others(tmp_path: Path) -> None:
    sleep = ["sleep", "600"]
    ours = subprocess.Popen(sleep, env={**os.environ, **mark("graph-a", tmp_path)}, start_new_session=True)
    code = f"import subprocess; print(subprocess.Popen({sleep!r}, stdout=subprocess.DEVNULL).pid)"
    # Their parent is gone, as it is when a flow was killed.
    lone = int(subprocess.check_output([sys.executable, "-c", code], env={**os.environ, **mark("graph-a", tmp_path)}))
    other = int(subprocess.check_output([sys.executable, "-c", code], env={**os.environ, **mark("graph-b", tmp_path)}))
    try:
        assert end_orphans("graph-a", tmp_path) == ["sleep 600"]
        assert not is_running(lone)
        assert is_running(other)
        assert is_running(ours.pid)  # this process's own child is no orphan
    finally:
        for pid in (ours.pid, other):
            os.kill(pid, signal.SIGKILL)
        ours.wait()
    assert MARK in mark("x")


def test_flight_is_held_by_one_process_and_given_back_when_it_is_killed(tmp_path: Path) -> None:
    code = (
        "import time, pathlib, sys, subprocess; from pipelines.single_flight import single_flight\n"
        "with single_flight('graph-x', pathlib.Path(sys.argv[1])):\n"
        "    child = subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL)\n"
        "    print(child.pid, flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        with pytest.raises(Busy, match=f"process {holder.pid}"), single_flight("graph-x", tmp_path):
            pass
        with single_flight("graph-y", tmp_path):
            pass
        holder.kill()
        holder.wait()
        start = time.monotonic()
        with single_flight("graph-x", tmp_path):  # although a child of the dead holder lives on
            assert is_running(child), f"after {time.monotonic() - start} s"
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()
