"""Another is champion than before: a rollback, a canary on trial, and what the loop makes of it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from tests.retraining.homes import FIRST, make_homes
from tests.retraining.small_project import BETTER, HOMES, PARAMS, ask, build, log_changed, make_graph, open_log
from tests.retraining.test_retrain import error, events, make_verdict
from tideline.champion import champion_bundle
from tideline.contracts import Task
from tideline.layout import Layout
from tideline.predlog import StoredVerdict
from tideline.registry import rollback, status
from tideline.retraining.announce import tell_end
from tideline.retraining.guard import DAY, HOUR
from tideline.retraining.journal import Line, append_line
from tideline.retraining.run import Outcome, Request, retrain
from tideline.rollout import end_trial

NOW = time.time_ns() // 1000  # the registry has no other clock
MORE = make_homes(5, 10, change=0, first=FIRST + 190, seed=8)  # too few


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an alarm on v0001 came v0002."""
    layout = build(tmp_path_factory.mktemp("homes"))
    log_changed(layout)
    save_alarm(layout, NOW - HOUR)
    assert decide_at(layout, NOW).name == "promoted"
    return layout.root


@pytest.fixture
def layout(built: Path, tmp_path: Path) -> Layout:
    shutil.copytree(built, tmp_path / "project")
    return Layout("homes", tmp_path / "project")


def save_alarm(layout: Layout, judged: int, last: int | None = None) -> None:
    verdict = make_verdict(error("realised error"))
    values = {**verdict.__dict__, "judged": judged, "last": judged if last is None else last}
    seen = type(verdict)(**values)
    name = champion_bundle(layout).name
    with open_log(layout) as store:
        store.save_verdict(StoredVerdict("homes", name, judged, 0, seen.last, 500, "alarm", seen.to_json()))


def decide_at(layout: Layout, now: int, request: Request | None = None) -> Outcome:
    with open_log(layout) as store:
        return retrain(HOMES, PARAMS, layout, store, request or Request(), now, make_graph(BETTER))


def test_a_rollback_is_not_undone(layout: Layout) -> None:
    left = champion_bundle(layout).name
    rollback(layout, reason="people complain")
    for outcome in (decide_at(layout, NOW + 3 * DAY), decide_at(layout, NOW + 3 * DAY)):
        assert outcome.name == "wait" and "no verdict on the champion yet" in outcome.reasons[0]  # the old one is gone
    save_alarm(layout, NOW + DAY, NOW - HOUR)  # judged anew, of the rows from before
    assert "no verdict on the champion yet" in decide_at(layout, NOW + 3 * DAY).reasons[0]
    save_alarm(layout, NOW + 2 * DAY)
    log_changed(layout, MORE)
    outcome = decide_at(layout, NOW + 3 * DAY)
    assert outcome.name == "wait" and outcome.decision.trigger == "loss of quality"
    assert outcome.reasons[0].startswith("50 new labelled rows are too few") and left in outcome.reasons[0]
    asked = decide_at(layout, NOW + 3 * DAY, Request("all is well again", dry_run=True))
    assert asked.name == "would act" and asked.facts.labels == asked.facts.usable


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_what_was_made_for_another_champion_is_refused(layout: Layout, share: float) -> None:
    left = champion_bundle(layout).name

    def graph(task: Task, layout: Layout) -> None:
        make_graph(BETTER + 0.1)(task, layout)
        rollback(layout)

    with open_log(layout) as store:
        outcome = retrain(HOMES, PARAMS, layout, store, Request("test", canary=share), NOW, graph)
    assert outcome.name == "refused" and outcome.reasons[0].startswith(f"it was made to succeed {left}, but the champ")
    assert champion_bundle(layout).name.startswith("v0001") and status(layout).challengers == ()


def test_what_was_begun_for_another_champion_is_not_finished(layout: Layout) -> None:
    known = {"champion": champion_bundle(layout).name, "canary": 0.0}
    append_line(layout.decisions, Line(NOW, "begin", "a key", "loss of quality", ("an alarm",), "", known))
    rollback(layout)
    outcome = decide_at(layout, NOW + 3 * DAY)
    assert outcome.name == "wait" and not outcome.decision.trigger and len(outcome.facts.finished) == 1
    assert events(layout)[-3:] == [("begin", ""), ("end", "superseded"), ("wait", "")]
    with open_log(layout) as store:
        assert tell_end(PARAMS, store, layout) is None  # nobody has to act


def test_a_canary_on_trial_is_waited_for_and_a_withdrawn_one_is_a_refusal(tmp_path: Path) -> None:
    layout = build(tmp_path)
    log_changed(layout)
    assert ask(layout, canary=0.8).name == "canary"
    (canary,) = status(layout).challengers
    save_alarm(layout, NOW + 2 * DAY)
    outcome = decide_at(layout, NOW + 3 * DAY)
    assert outcome.name == "wait" and outcome.reasons[0].startswith(f"{canary.version} is a canary on trial")
    log_changed(layout, MORE)
    asked = decide_at(layout, NOW + 3 * DAY, Request("one more", canary=0.3))
    assert asked.name == "wait" and "30% more is above 100 %" in " ".join(asked.reasons)
    end_trial(layout, canary.version, withdrawn=True)
    outcome = decide_at(layout, NOW + 3 * DAY)
    assert outcome.name == "wait" and outcome.reasons[0].startswith("50 new labelled rows are too few")
    assert outcome.facts.withdrawn == (canary.version,)
