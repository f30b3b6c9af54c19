"""A retraining from the log to the registry: promoted, refused, quarantined, failed, killed, twice at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.retraining import small_project
from tests.retraining.homes import FIRST, make_homes
from tests.retraining.replay import SECOND, START, log_rows
from tests.retraining.small_project import (
    BETTER,
    CHANGED,
    HOMES,
    NOW,
    PARAMS,
    SAME,
    ask,
    build,
    log_changed,
    make_graph,
    open_log,
)
from tests.small_registry import actions
from tests.wait import wait_for
from tideline.champion import champion_bundle
from tideline.contracts import Task, TidelineError
from tideline.labelled import read_snapshot
from tideline.layout import Layout
from tideline.monitor.records import ALARM, QUIET, Check, Errors, WindowVerdict
from tideline.predlog import Label, StoredVerdict
from tideline.registry import history, promote, status
from tideline.retraining.collecting import collect_by_hand
from tideline.retraining.facts import add_rows, gather_facts, look_around, read_alarms
from tideline.retraining.guard import HOUR, Alarms
from tideline.retraining.journal import Line, append_line, count_refused, read_lines
from tideline.retraining.run import Request, retrain


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("homes")
    log_changed(build(root))
    return root


@pytest.fixture
def layout(built: Path, tmp_path: Path) -> Layout:
    shutil.copytree(built, tmp_path / "project")
    return Layout("homes", tmp_path / "project")


def events(layout: Layout) -> list[tuple[str, str]]:
    return [(line.event, line.outcome) for line in read_lines(layout.decisions)]


def test_a_better_one_is_promoted_and_the_same_is_not_done_again(layout: Layout) -> None:
    outcome = ask(layout)
    assert outcome.name == "promoted", outcome.reasons
    entry = history(layout).entries[-1]
    told = entry.evidence["retraining"]
    assert told["trigger"] == "by hand" and told["history"]["name"] == "last 30 days"
    snapshot = read_snapshot(layout)
    assert snapshot is not None and told["labelled"] == {"rows": 600, "sha256": snapshot.sha256}
    assert entry.evidence["fresh"]["gain_over_champion"]["low"] > 0 > entry.evidence["gain_over_champion"]["high"]
    assert champion_bundle(layout).name.startswith("v0002")
    save_alarm(layout)
    again = ask(layout, reason=None)
    assert again.name == "wait" and "the last retraining was 0.0 h ago" in again.reasons[0]
    assert events(layout) == [("begin", ""), ("end", "promoted"), ("wait", "")]
    begin, end, _ = read_lines(layout.decisions)
    assert begin.time == NOW < end.time  # each has its own


def test_the_gate_refuses_what_is_no_better_and_the_champion_stays(layout: Layout) -> None:
    outcome = ask(layout, SAME)
    assert outcome.name == "refused"
    assert outcome.reasons[0].startswith("on the fresh holdout it is not better than the champion beyond noise")
    assert champion_bundle(layout).name.startswith("v0001")
    assert read_snapshot(layout) is not None
    again = ask(layout)
    assert again.name == "wait" and "done already" in again.reasons[0]
    lines = read_lines(layout.decisions)
    assert count_refused(lines, outcome.facts.champion) == outcome.facts.usable > 0
    with open_log(layout) as store:
        scene = look_around(layout, store, NOW)
        asked = gather_facts(layout, scene, lines, NOW, None)
    counts = {"rows": outcome.facts.usable + 30, "in_old_holdout": 0, "in_training": 0, "fresh": 100}
    by_alarm = add_rows(asked, scene, CHANGED, counts, lines)
    by_hand = add_rows(replace(asked, by_hand="x"), scene, CHANGED, counts, lines)
    assert by_alarm.labels == by_alarm.usable - outcome.facts.usable == 30  # a few more change no mind
    assert by_hand.labels == by_hand.usable
    assert add_rows(asked, scene, CHANGED, counts, lines, corrected=50).labels == 80
    fewer = {**counts, "in_training": counts["rows"] - 10}
    assert add_rows(asked, scene, CHANGED, fewer, lines).labels == 0
    assert count_refused(lines, "v0009-a") == 0  # it was against another champion


def test_another_seed_or_share_of_the_fresh_holdout_is_in_the_evidence(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = ask(layout)
    assert outcome.verdict is not None and "champion_draw" not in outcome.verdict["evidence"]["fresh"]
    other = replace(PARAMS, seed=PARAMS.seed + 1)
    for params, is_told in ((PARAMS, False), (other, True)):
        monkeypatch.setattr(small_project, "PARAMS", params)
        make_graph(SAME)(HOMES, layout)
        verdict = promote(HOMES, params, layout)
        assert ("it may have learnt some" in verdict.evidence["fresh"].get("champion_draw", "")) == is_told


@pytest.mark.slow
def test_a_canary_is_offered_as_one(layout: Layout) -> None:
    outcome = ask(layout, canary=0.3)
    assert outcome.name == "canary"
    (canary,) = status(layout).challengers
    assert canary.role == "canary" and canary.share == 0.3
    assert champion_bundle(layout).name.startswith("v0001")


def test_bad_rows_go_to_quarantine_and_nothing_else_changes(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "project")
    layout = Layout("homes", tmp_path / "project")
    (layout.root / "log.db").unlink()
    log_changed(layout, CHANGED.assign(floor=np.where(np.arange(len(CHANGED)) > 200, 7.0, CHANGED["floor"])))
    outcome = ask(layout)
    assert outcome.name == "quarantined" and "column 'floor' stands still" in outcome.reasons[0]
    (window,) = layout.quarantine.iterdir()
    assert json.loads((window / "reasons.json").read_text())["rows"] == 600
    assert read_snapshot(layout) is None and champion_bundle(layout).name.startswith("v0001")
    assert actions(layout) == ["promoted", "quarantined"]
    again = ask(layout)  # its rows are not looked at again
    assert again.name == "wait" and again.counts["in_quarantine"] == 600
    assert actions(layout) == ["promoted", "quarantined"]


MISSING = Check("column", "floor", "missing_share", "quality", 1.0, 0.0, 0.4, 0.02, 0.0, True, 1, True)


def judge(layout: Layout, first: int, last: int, *checks: Check) -> None:
    """A verdict on the rows between these seconds."""
    found = WindowVerdict("homes", "v", NOW, last - first, START + first * SECOND, START + last * SECOND,
                          ALARM if checks else QUIET, checks, Errors(), 0.01, 3, ())  # fmt: skip
    with open_log(layout) as store:
        store.save_verdict(StoredVerdict("homes", champion_bundle(layout).name, found.judged, found.first,
                                         found.last, found.rows, found.status, found.to_json()))  # fmt: skip


def test_late_labels_of_a_faulty_time_hold_back_themselves_and_no_later_window(layout: Layout) -> None:
    def log(seed: int, rows: int, second: int) -> list[str]:
        frame = make_homes(rows // 10, 10, change=0, first=FIRST + 200, seed=seed)
        with open_log(layout) as store:
            return log_rows(store, HOMES, frame, champion_bundle(layout).name, START + second * SECOND)

    def collect_now() -> tuple[str, set[str]]:
        with open_log(layout) as store:
            name = collect_by_hand(HOMES, PARAMS, layout, store, NOW)
        found = read_snapshot(layout)
        return name, set() if found is None else set(found.frame["log.prediction_id"])

    judge(layout, 200, 260, MISSING)
    assert collect_now() == ("quarantined", set())
    late, clean = log(11, 20, 210), log(12, 100, 1_000)
    assert collect_now() == ("collected", set(clean))
    (window,) = layout.quarantine.iterdir()

    judge(layout, 1_090, 1_200, MISSING)  # another fault, and its first window
    log(13, 50, 1_110)
    assert collect_now() == ("quarantined", set(clean)) and len(list(layout.quarantine.iterdir())) == 2
    (window / "data.parquet").unlink()  # looked into, the late ones with it
    name, ids = collect_now()
    assert name == "collected" and len(ids) == 720 and {*late, *clean} <= ids


def test_a_fault_that_has_passed_keeps_its_rows_out_until_a_person_releases_them(layout: Layout) -> None:
    """600 rows, a second apart: too many floors are missing in 60 of them, then all is well again."""
    judge(layout, -500, -1, MISSING)  # before these rows
    judge(layout, 200, 260, MISSING)
    for first in range(260, 600, 2):
        judge(layout, first + 1, first + 40)
    outcome = ask(layout)
    assert outcome.name == "quarantined", outcome.reasons
    (reason,) = outcome.reasons
    assert "column 'floor': missing_share 0.4" in reason and "2023-11-14 22:16:40 to 2023-11-14 22:17:40 UTC" in reason
    assert read_snapshot(layout) is None and champion_bundle(layout).name.startswith("v0001")
    (window,) = layout.quarantine.iterdir()
    kept = (window / "data.parquet").read_bytes()

    shutil.rmtree(window)  # its rows are judged anew, and nothing about them has changed
    assert ask(layout, reason="again").name == "quarantined"
    assert (window / "data.parquet").read_bytes() == kept
    (window / "data.parquet").unlink()
    outcome = ask(layout, reason="the floors were looked into")
    assert outcome.name == "promoted", outcome.reasons


@pytest.mark.slow
@pytest.mark.parametrize("error", [TidelineError("no room"), MemoryError("4 GiB")])
def test_a_failure_is_recorded_and_tried_again_after_a_short_pause(layout: Layout, error: Exception) -> None:
    def fail(task: Task, layout: Layout) -> None:
        raise error

    save_alarm(layout)
    with open_log(layout) as store:
        outcome = retrain(HOMES, PARAMS, layout, store, Request(), NOW, fail)
        assert outcome.name == "failed" and str(error) in outcome.reasons[0]
        assert events(layout) == [("begin", ""), ("end", "failed")]
        early = retrain(HOMES, PARAMS, layout, store, Request(), NOW + 60 * SECOND, fail)
        assert early.name == "wait" and "tried again after 0.5 h" in early.reasons[0]
        again = retrain(HOMES, PARAMS, layout, store, Request(), NOW + 2_400 * SECOND, make_graph(BETTER))
    assert again.name == "promoted" and again.facts.finished == (), again.reasons


@pytest.mark.slow
def test_what_cannot_be_offered_ends_it_as_failed(layout: Layout) -> None:
    def lose(task: Task, layout: Layout) -> None:
        shutil.rmtree(layout.bundle)

    with open_log(layout) as store:
        outcome = retrain(HOMES, PARAMS, layout, store, Request("test"), NOW, lose)
    assert outcome.name == "failed" and str(layout.bundle) in outcome.reasons[0], outcome
    assert events(layout) == [("begin", ""), ("end", "failed")]


def test_one_that_is_killed_each_time_has_failed_and_is_not_begun_for_ever(layout: Layout) -> None:
    save_alarm(layout)
    known = {"champion": champion_bundle(layout).name}
    for number in range(3):
        line = Line(NOW - HOUR, "begin", f"key {number}", "loss of quality", ("an alarm",), "", known)
        append_line(layout.decisions, line)
    outcome = ask(layout, reason=None)
    assert outcome.name == "failed" and "begun 3 times and ended none of them" in outcome.reasons[0]
    assert events(layout)[3:] == [("end", "failed")]
    again = ask(layout, reason=None)
    assert again.name == "wait" and "1 in a row failed" in again.reasons[0]
    assert again.decision.trigger == "loss of quality"


def test_a_dry_run_writes_nothing(layout: Layout) -> None:
    before = sorted(p for p in layout.root.rglob("*") if p.is_file() and ".retraining.lock" not in p.name)
    with open_log(layout) as store:
        outcome = retrain(HOMES, PARAMS, layout, store, Request("test", dry_run=True), NOW)
    assert outcome.name == "would act" and outcome.history is not None
    after = sorted(p for p in layout.root.rglob("*") if p.is_file() and ".retraining.lock" not in p.name)
    assert [p for p in after if p not in before and "log.db" not in p.name] == []


def make_verdict(*checks: Check) -> WindowVerdict:
    return WindowVerdict("homes", "v", 1, 500, 0, 1, ALARM, checks, Errors(), 0.01, 3, ())


def error(subject: str, breached: bool = True, alarm: bool = True) -> Check:
    return Check("error", subject, "welch", "error", 1.0, 0.0, 0.5, 0.2, 0.0, breached, 3, alarm, "1 over 2 labels")


def save_alarm(layout: Layout) -> None:
    version = champion_bundle(layout).name
    with open_log(layout) as store:
        store.save_verdict(
            StoredVerdict("homes", version, NOW, 0, NOW, 500, "alarm", make_verdict(error("realised error")).to_json())
        )


@pytest.mark.slow
def test_a_verdict_of_lasting_loss_starts_it_without_a_person(layout: Layout) -> None:
    save_alarm(layout)
    outcome = ask(layout, reason=None)
    assert outcome.name == "promoted" and outcome.decision.trigger == "loss of quality"


def test_alarms_as_the_guard_sees_them() -> None:
    drift = Check("column", "size", "psi", "drift", 1.0, None, 0.5, 0.2, None, True, 3, True)
    assert read_alarms(None) == Alarms()
    seen = read_alarms(make_verdict(error("realised error"), drift, error("coverage 80%")))
    assert seen.errors == ("realised error is 50% above training, 3 windows in a row",)
    assert seen.drifts == ("size (psi)",)
    early = read_alarms(make_verdict(error("estimated error", alarm=False)))
    assert not early.errors and len(early.pending) == 1
    denied = read_alarms(make_verdict(error("estimated error"), error("realised error", breached=False)))
    assert not denied.errors and "labels do not show it" in denied.pending[0]


def test_a_journal_line_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    layout = Layout("homes", tmp_path)
    append_line(layout.decisions, Line(NOW, "wait", "key", "", ("a reason",), "", {"labels": 3}))
    lines = read_lines(layout.decisions)
    with layout.decisions.open("ab") as file:
        file.write(b'{"time": 1, "eve')
    assert read_lines(layout.decisions) == lines
    append_line(layout.decisions, lines[0])
    assert read_lines(layout.decisions) == [*lines, lines[0]]
    layout.decisions.write_bytes(b"nonsense\n")
    with pytest.raises(TidelineError, match="line 1 cannot be read"):
        read_lines(layout.decisions)


@pytest.fixture
def waiting(layout: Layout) -> Iterator[subprocess.Popen[str]]:
    """A process that retrains, and waits in the graph for a file."""
    with begin_waiting(layout) as process:
        yield process


@contextmanager
def begin_waiting(layout: Layout, share: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.retraining.small_project"]
    arguments = [str(layout.root), str(BETTER), str(layout.root / "go on"), str(share)]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as process:
        wait_for(lambda: (layout.labelled / "history.json").exists(), 120)
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_killed_canary_is_finished_as_one(layout: Layout) -> None:
    with begin_waiting(layout, 0.25) as process:
        os.kill(process.pid, signal.SIGKILL)
    outcome = ask(layout, reason=None)
    assert outcome.name == "canary" and outcome.decision.trigger == "unfinished"
    (canary,) = status(layout).challengers
    assert canary.share == 0.25 and champion_bundle(layout).name.startswith("v0001")


@pytest.mark.slow
def test_two_at_once_are_one(layout: Layout, waiting: subprocess.Popen[str]) -> None:
    command = [sys.executable, "-m", "tests.retraining.small_project", str(layout.root), str(BETTER), "/"]
    second = subprocess.run(command, capture_output=True, text=True)
    assert f"in flight: homes is being retrained by process {waiting.pid}" in second.stdout
    (layout.root / "go on").touch()
    said, _ = waiting.communicate(timeout=120)
    assert said.splitlines()[-1] == "promoted"
    assert actions(layout) == ["promoted", "promoted"]


@pytest.mark.slow
def test_a_killed_one_is_finished_by_the_next(layout: Layout, waiting: subprocess.Popen[str]) -> None:
    os.kill(waiting.pid, signal.SIGKILL)
    waiting.wait()
    assert events(layout) == [("begin", "")]
    assert champion_bundle(layout).name.startswith("v0001")
    outcome = ask(layout, reason=None)  # nobody asks, and there is no alarm
    assert outcome.name == "promoted" and outcome.decision.trigger == "unfinished"
    assert actions(layout) == ["promoted", "promoted"]


@pytest.mark.slow
def test_a_corrected_label_is_news(layout: Layout) -> None:
    ask(layout, SAME)
    snapshot = read_snapshot(layout)
    assert snapshot is not None
    with open_log(layout) as store:
        store.record_labels([Label(snapshot.frame["log.prediction_id"][0], 999.0)], now=NOW)
    outcome = ask(layout)
    assert outcome.name == "promoted" and outcome.counts["corrected"] == 1
