"""Quarantine and refusal are told to a real receiver, once; what it would not take is an exit code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.alerts.receiver import Receiver
from tests.alerts.verdicts import make_params
from tests.retraining.small_project import CHANGED, HOMES, SAME, ask, build, log_changed, open_log
from tests.retraining.test_split import CUT
from tideline import cli
from tideline.layout import Layout
from tideline.predlog import open_store
from tideline.retraining.announce import tell_outcome
from tideline.retraining.run import Outcome

BROKEN = CHANGED.assign(floor=np.where(np.arange(len(CHANGED)) > 200, 7.0, CHANGED["floor"]))


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


def tell(layout: Layout, outcome: Outcome) -> int:
    """How many alerts are new."""
    with open_log(layout) as store:
        sent = tell_outcome(make_params("webhook"), store, outcome)
    assert sent.failed == () and len(sent.delivered) == len(sent.raised)
    return len(sent.raised)


def test_a_quarantine_is_told_once(layout: Layout, receiver: Receiver) -> None:
    log_changed(layout, BROKEN)
    outcome = ask(layout)
    assert outcome.name == "quarantined"
    assert [tell(layout, outcome), tell(layout, outcome), tell(layout, ask(layout))] == [1, 0, 0]
    (body,) = receiver.bodies
    assert (body["task"], body["source"], body["status"]) == ("homes", "retraining", "alarm")
    assert "in quarantine" in body["title"] and "column 'floor' stands still" in body["lines"][0]


def test_a_refusal_is_told_once_and_so_is_its_end(layout: Layout, receiver: Receiver) -> None:
    log_changed(layout)
    outcome = ask(layout, SAME)
    assert outcome.name == "refused"
    assert [tell(layout, outcome), tell(layout, outcome)] == [1, 0]
    (body,) = receiver.bodies
    assert body["status"] == "alarm" and body["subjects"] == ["refused"]
    assert body["lines"] == list(outcome.reasons)
    promoted = replace(outcome, name="promoted", reasons=())
    assert [tell(layout, promoted), tell(layout, promoted)] == [1, 0]
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
    assert [alert["subjects"] for alert in told["alerts"]["raised"]] == [["quarantined"]]
    (failure,) = told["alerts"]["failed"]
    assert failure["channel"] == "webhook" and "answered 503 (tried 3 times)" in failure["error"]
    code, told = run()  # there is nothing new to say
    assert code == 7 and told["name"] == "wait" and not told["alerts"]["raised"] and told["alerts"]["failed"]
    assert receiver.bodies == []
    code, told = run()
    assert code == 3 and told["alerts"] == {"raised": [], "failed": []}
    assert [body["subjects"] for body in receiver.bodies] == [["quarantined"]]
    assert run()[0] == 3 and len(receiver.bodies) == 1
    with open_store(f"sqlite:///{layout.root}/log.db") as store:
        assert dict(store.count_waiting()) == {}
