"""The folder in memory: it is there for as long as its process, whatever that becomes, and removed by the next one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.memory_folder import open_memory_folder
from tests.serving.real_server import ROOT

CODE = """
import os, sys
from pathlib import Path
from serving.memory_folder import open_memory_folder
folder = open_memory_folder(Path(sys.argv[1]))
(folder / "metrics.db").write_text("1")
os.execv(sys.executable, [sys.executable, "-c", f"import time; print({str(folder)!r}, flush=True); time.sleep(600)"])
"""


@contextmanager
def running(memory: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that opened a folder and then became another program; it is killed."""
    command = [sys.executable, "-c", CODE, str(memory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_one_is_there_while_its_process_is_and_removed_by_the_next(tmp_path: Path) -> None:
    with running(tmp_path) as (first, folder):
        with running(tmp_path) as (_, other):
            assert folder != other and (folder / "metrics.db").is_file() and (other / "metrics.db").is_file()
        first.kill()
        first.wait()
        with running(tmp_path) as (_, third):
            assert {place.name for place in third.parent.iterdir()} == {third.name, f"{third.name}.lock"}


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    assert open_memory_folder(tmp_path / "none") is None
    with running(tmp_path) as (_, folder):
        folder.parent.chmod(0o777)
        assert open_memory_folder(tmp_path) is None
