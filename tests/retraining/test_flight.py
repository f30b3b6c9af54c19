"""Retraining, the training flow and `rollback --all` keep out of each other's way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from pipelines.single_flight import single_flight
from pipelines.training import train
from tests.retraining.small_project import ask, build
from tests.small_registry import actions
from tideline.contracts import TidelineError
from tideline.graph_flight import hold_graph
from tideline.layout import Layout
from tideline.lineage.restore import restore
from tideline.lineage.restoring import begin_journal
from tideline.retraining.flight import InFlightError

HOLDER = """
import sys
from pathlib import Path
from tideline.layout import Layout
from tideline.retraining.flight import single_flight
with single_flight(Layout("homes", Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return build(tmp_path_factory.mktemp("homes"))


@pytest.fixture
def retraining(layout: Layout) -> Iterator[int]:
    """The number of a process that retrains."""
    command = [sys.executable, "-c", HOLDER, str(layout.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.stdin.close()


def test_a_rollback_keeps_out_of_a_retraining(layout: Layout, retraining: int) -> None:
    with pytest.raises(InFlightError, match=f"being retrained by process {retraining}"):
        restore(layout)
    assert actions(layout) == ["promoted"]


def test_a_flow_at_work_keeps_out_rollback_and_retraining(layout: Layout) -> None:
    with single_flight("graph-homes", layout.root):
        for act in (restore, ask):
            with pytest.raises(InFlightError, match="is at work on the graph of homes: a flow"):
                act(layout)
    assert actions(layout) == ["promoted"]


def test_a_flow_of_another_task_keeps_out_a_rollback_of_the_files_they_share(layout: Layout) -> None:
    busy = r"is at work on the graph of bikes, whose params.yaml and dvc.lock"
    with single_flight("graph-bikes", layout.root), pytest.raises(InFlightError, match=busy):
        restore(layout)
    assert actions(layout) == ["promoted"]


def test_what_a_flow_has_started_works_under_its_lock(layout: Layout) -> None:
    program = "import sys; from pathlib import Path; from tideline.layout import Layout; "
    program += "from tideline.graph_flight import hold_graph\n"
    program += "with hold_graph(Layout('homes', Path(sys.argv[1]))): print('held')"
    with hold_graph(layout):
        done = subprocess.run([sys.executable, "-c", program, str(layout.root)], capture_output=True, text=True)
        assert done.stdout == "held\n", done.stderr
        stranger = [sys.executable, "-c", "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"]
        command = [*stranger, sys.executable, "-c", program, str(layout.root)]
        assert "is held by process" in subprocess.run(command, capture_output=True, text=True).stderr


def test_nothing_is_trained_on_a_mixture(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(layout.root)
    begin_journal(layout, "v0001-a", "")
    for act in (lambda: ask(layout), lambda: train("homes")):
        with pytest.raises(TidelineError, match=r"was not finished: .*`tideline rollback homes --all` finishes it"):
            act()
    assert not layout.decisions.exists()
