"""The graph of a retraining in a real DVC project, while another DVC holds its lock."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from dvc.lock import make_lock

from tests.retraining.homes import HOMES
from tests.wait import wait_for
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.retraining.run import run_graph

GRAPH = """
stages:
  bundle:
    foreach: [homes]
    do:
      cmd: python -c "open('${item}.txt', 'w').write('done')"
      outs:
        - ${item}.txt
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=tmp_path, check=True)
    (tmp_path / "dvc.yaml").write_text(GRAPH)
    return Layout("homes", tmp_path)


@pytest.mark.slow
def test_it_waits_for_a_dvc_that_holds_the_lock_for_longer_than_dvc_tries(layout: Layout) -> None:
    folder = layout.root / ".dvc" / "tmp"
    lock = make_lock(str(folder / "lock"), tmp_dir=str(folder))
    failures: list[TidelineError] = []

    def work() -> None:
        try:
            run_graph(HOMES, layout)
        except TidelineError as error:
            failures.append(error)

    with lock:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(12)  # it tries for three seconds
        assert thread.is_alive() and not failures
    wait_for(lambda: not thread.is_alive(), 120)
    assert not failures and (layout.root / "homes.txt").read_text() == "done"
