"""`tideline monitor TASK --alert`: what a shell is told."""

from __future__ import annotations

import time

import pytest

from tests.alerts.receiver import Receiver
from tests.predlog.test_monitor import SECOND, log_rows
from tests.small_registry import submit
from tests.small_task import RENT, make_frame
from tideline import cli
from tideline.bundle import load_bundle
from tideline.champion import champion_bundle
from tideline.layout import Layout
from tideline.predlog import open_store, store_url


def test_command_tells_once_and_its_exit_code_says_what_was_not_told(
    layout: Layout, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(layout, "better").accepted
    monkeypatch.chdir(layout.root)
    monkeypatch.delenv("TIDELINE_STORE_URL", raising=False)
    monkeypatch.setattr("tideline.catalog.get_task", lambda name: RENT)  # it is in no folder of the catalogue
    place = layout.root / "params.yaml"
    text = place.read_text().replace("wait_seconds: 1.0", "wait_seconds: 0.01")
    place.write_text(text.replace("channels: [log]", "channels: [log, webhook]"))
    broken = make_frame(300, seed=6).assign(kind="c")
    with open_store(store_url(layout.root.resolve(), {})) as store:
        log_rows(store, load_bundle(champion_bundle(layout)), RENT, broken, time.time_ns() // 1000 - 1_000 * SECOND)

    def run(url: str) -> tuple[int, str]:
        monkeypatch.setenv("TIDELINE_ALERT_WEBHOOK", url)
        code = cli.main(["monitor", "rent", "--rows", "300", "--alert"])
        return code, capsys.readouterr().err

    code, said = run("")
    assert code == 5 and "ALERT " in said and "TIDELINE_ALERT_WEBHOOK is not set" in said
    receiver.script.extend([500, 500, 500])
    code, said = run(receiver.url)
    assert code == 5 and "ALERT " not in said and "answered 500 (tried 3 times)" in said
    code, said = run(receiver.url)
    assert code == 3 and "told by webhook: rent" in said and len(receiver.bodies) == 1
    assert receiver.bodies[0]["subjects"] and receiver.bodies[0]["version"] == champion_bundle(layout).name
    code, said = run(receiver.url)
    assert code == 3 and "nobody had to be told anything new" in said and len(receiver.bodies) == 1
