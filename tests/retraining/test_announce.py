"""How a retraining ended is told to a real receiver, once; what was not delivered is told by the next run."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.alerts.receiver import Receiver
from tests.alerts.verdicts import make_params
from tests.retraining.replay import SECOND, START, log_rows
from tests.retraining.small_project import CHANGED, HOMES, NOW, SAME, ask, build, log_changed, open_log
from tests.retraining.small_project import PARAMS as SMALL
from tests.retraining.test_split import CUT
from tests.small_task import small_params
from tideline import cli
from tideline.champion import champion_bundle
from tideline.layout import Layout
from tideline.predlog import Label, StoreUnavailable, open_store
from tideline.predlog import database as database_module
from tideline.retraining.announce import tell_end
from tideline.retraining.collecting import collect_by_hand
from tideline.retraining.journal import Line, append_line, find_unfinished, list_finished, read_lines

PARAMS = small_params()
BROKEN = CHANGED.assign(floor=np.where(np.arange(len(CHANGED)) > 200, 7.0, CHANGED["floor"]))


def note(layout: Layout, time: int, event: str, outcome: str = "", *reasons: str) -> None:
    facts = {"champion": "v0001-a"}
    append_line(layout.decisions, Line(time, event, "key", "by hand", reasons, outcome, facts))  # type: ignore[arg-type]


def test_what_could_not_be_told_is_told_by_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.2)
    layout = Layout("homes", tmp_path)
    with open_store(f"sqlite:///{tmp_path}/log.db") as store:
        assert tell_end(PARAMS, store, layout) is None  # nothing has ended
        note(layout, 1, "begin", "", "by hand: a test")
        note(layout, 2, "end", "refused", "it is not better")
        with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            with pytest.raises(
                StoreUnavailable, match=r"ended \(refused\), but nobody could be told: .*locked.*next run"
            ):
                tell_end(PARAMS, store, layout)
        assert [line.event for line in read_lines(layout.decisions)] == ["begin", "end"]
        sent = tell_end(PARAMS, store, layout)
        assert sent is not None
        (alert,) = sent.raised
        assert alert.status == "alarm" and alert.version == "v0001-a" and "the gate refused" in alert.title
        assert alert.lines == ("it is not better",)
        assert tell_end(PARAMS, store, layout) is None
        note(layout, 3, "begin", "", "by hand: once more")
        note(layout, 4, "end", "promoted")
        sent = tell_end(PARAMS, store, layout)
        assert sent is not None and [alert.status for alert in sent.raised] == ["recovered"]
        assert sent.raised[0].lines == ("by hand: once more",)
    lines = read_lines(layout.decisions)
    assert [line.event for line in lines] == ["begin", "end", "told"] * 2
    assert list_finished(lines) == (2, 4) and find_unfinished(lines) is None


def test_a_failure_is_told_once_and_ends_with_a_new_version(tmp_path: Path) -> None:
    layout = Layout("homes", tmp_path)
    with open_store(f"sqlite:///{tmp_path}/log.db") as store:
        told = []
        for outcome in ("failed", "failed", "promoted"):
            note(layout, 1, "begin")
            note(layout, 2, "end", outcome, "no room")
            sent = tell_end(PARAMS, store, layout)
            assert sent is not None
            told.append([(alert.status, alert.subjects, alert.lines) for alert in sent.raised])
    why = ("no room",)
    assert told == [[("alarm", ("failed",), why)], [], [("recovered", ("promoted",), why)]]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with Receiver() as running:
        monkeypatch.setenv("TIDELINE_ALERT_WEBHOOK", running.url)
        yield running


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("homes")).root


@pytest.fixture
def layout(built: Path, tmp_path: Path) -> Layout:
    """A champion, and an empty log."""
    shutil.copytree(built, tmp_path / "project")
    return Layout("homes", tmp_path / "project")


def tell(layout: Layout) -> int:
    """How many alerts are new."""
    with open_log(layout) as store:
        sent = tell_end(make_params("webhook"), store, layout)
    if sent is None:
        return 0
    assert sent.failed == () and len(sent.delivered) == len(sent.raised)
    return len(sent.raised)


def test_a_quarantine_is_told_once(layout: Layout, receiver: Receiver) -> None:
    log_changed(layout, BROKEN)
    outcome = ask(layout)
    assert outcome.name == "quarantined"
    assert [tell(layout), tell(layout)] == [1, 0]
    assert ask(layout).name == "wait" and tell(layout) == 0
    (body,) = receiver.bodies
    assert (body["task"], body["source"], body["status"]) == ("homes", "retraining", "alarm")
    assert "in quarantine" in body["title"] and "column 'floor' stands still" in body["lines"][0]


KILLER = """
import os, sys
from pathlib import Path
from tests.retraining.small_project import ask
from tideline.layout import Layout
from tideline.retraining import run
append = run.append_line
run.append_line = lambda path, line: os.kill(os.getpid(), 9) if line.event == "end" else append(path, line)
ask(Layout("homes", Path(sys.argv[1])))
"""


def test_each_window_in_quarantine_is_told_also_that_of_a_collecting(layout: Layout, receiver: Receiver) -> None:
    with open_log(layout) as store:
        log_rows(store, HOMES, BROKEN[:400], champion_bundle(layout).name)
        assert ask(layout).name == "quarantined" and tell(layout) == 1
        log_rows(store, HOMES, BROKEN[400:], champion_bundle(layout).name, START + 1_000 * SECOND)
        note(layout, 1, "begin")
        assert collect_by_hand(HOMES, SMALL, layout, store, NOW) == "quarantined"
    assert [tell(layout), tell(layout)] == [1, 0]
    windows = sorted(folder.name for folder in layout.quarantine.iterdir())
    assert [body["subjects"] for body in receiver.bodies] == [["quarantined", name] for name in windows]
    assert find_unfinished(read_lines(layout.decisions)) is not None  # a collecting ends no retraining


@pytest.mark.slow
def test_a_promotion_whose_process_was_killed_before_it_said_so_is_told(layout: Layout, receiver: Receiver) -> None:
    log_changed(layout)
    assert ask(layout, SAME).name == "refused" and tell(layout) == 1
    with open_log(layout) as store:  # a corrected label is news
        ((name,),) = [table["prediction_id"].to_pylist()[:1] for table in store.iterate("homes")]
        store.record_labels([Label(name, 999.0)], now=NOW)
    killed = subprocess.run([sys.executable, "-c", KILLER, str(layout.root)])
    assert killed.returncode == -signal.SIGKILL and read_lines(layout.decisions)[-1].event == "begin"
    assert champion_bundle(layout).name.startswith("v0002")
    assert ask(layout, reason=None).name == "wait"
    assert [line.outcome for line in read_lines(layout.decisions) if line.event == "end"] == ["refused", "promoted"]
    assert [tell(layout), tell(layout)] == [1, 0]
    assert [(b["status"], b["subjects"]) for b in receiver.bodies][1:] == [("recovered", ["promoted"])]


def test_a_refusal_is_told_once_and_so_is_its_end(layout: Layout, receiver: Receiver) -> None:
    log_changed(layout)
    outcome = ask(layout, SAME)
    assert outcome.name == "refused"
    assert [tell(layout), tell(layout)] == [1, 0]
    (body,) = receiver.bodies
    assert body["status"] == "alarm" and body["subjects"] == ["refused"]
    assert body["lines"] == list(outcome.reasons)
    note(layout, 1, "begin")
    note(layout, 2, "end", "promoted")
    assert [tell(layout), tell(layout)] == [1, 0]
    assert [b["status"] for b in receiver.bodies] == ["alarm", "recovered"]


def test_what_was_not_delivered_is_an_exit_code_until_it_is(
    layout: Layout, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log_changed(layout, BROKEN)
    params: dict[str, Any] = yaml.safe_load((layout.root / "params.yaml").read_text())
    params["alerts"]["wait_seconds"] = 0.01
    params["alerts"]["rules"]["everything"]["channels"] = ["webhook"]
    params["split"]["cuts"] = {"homes": CUT}
    params["retraining"] |= {"labels": 100, "fresh_rows": 20}
    (layout.root / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.chdir(layout.root)
    monkeypatch.setenv("TIDELINE_STORE_URL", f"sqlite:///{layout.root}/log.db")
    monkeypatch.setattr("tideline.catalog.get_task", lambda name: HOMES)  # it is in no folder of the catalogue

    def run() -> tuple[int, dict[str, Any]]:
        code = cli.main(["retrain", "homes", "--reason", "test", "--json"])
        return code, json.loads(capsys.readouterr().out)

    receiver.script.extend([503] * 6)
    code, told = run()
    assert code == 7 and told["name"] == "quarantined"
    assert [alert["subjects"][0] for alert in told["alerts"]["raised"]] == ["quarantined"]
    (failure,) = told["alerts"]["failed"]
    assert failure["channel"] == "webhook" and "answered 503 (tried 3 times)" in failure["error"]
    code, told = run()  # there is nothing new to say
    assert code == 7 and told["name"] == "wait" and not told["alerts"]["raised"] and told["alerts"]["failed"]
    assert receiver.bodies == []
    code, told = run()
    assert code == 3 and told["alerts"] == {"raised": [], "failed": []}
    assert [body["subjects"][0] for body in receiver.bodies] == ["quarantined"]
    assert run()[0] == 3 and len(receiver.bodies) == 1
    with open_store(f"sqlite:///{layout.root}/log.db") as store:
        assert dict(store.count_waiting()) == {}
