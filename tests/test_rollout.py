"""Canaries and shadows in the registry: who may try, what is recorded, and how a trial ends."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from tests.small_registry import PARAMS, actions, offer, submit
from tests.small_task import RENT, ROOT
from tideline.bundle import load_bundle
from tideline.champion import versions_folder
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.live_parity import find_difference, read_parity
from tideline.pointer import read_pointer
from tideline.predictor import Predictor
from tideline.registry import history, promote, rollback, status
from tideline.registry_view import describe_history, describe_status, describe_verdict
from tideline.rollout import challenge, end_trial, promote_canary, set_router


@pytest.fixture
def layout(layout: Layout) -> Layout:
    """`good` is champion, `better` is offered."""
    submit(layout, "good")
    offer(layout, "better")
    return layout


def test_a_canary_passes_the_gate_and_becomes_champion(layout: Layout) -> None:
    trial = challenge(RENT, PARAMS, layout, "canary", 0.2)
    assert trial.accepted and trial.evidence["challenger"] < trial.evidence["champion"]
    assert "answers 20% of the requests" in describe_verdict(trial)
    (there,) = status(layout).challengers
    assert (there.version, there.role, there.share) == (trial.version, "canary", 0.2)
    assert there.margins.error == PARAMS.rollout.error
    assert f"{trial.version}  canary, 20% of the requests" in describe_status(layout)

    more = challenge(RENT, PARAMS, layout, "canary", 0.5)
    (changed,) = status(layout).challengers
    assert more.version == trial.version and (changed.share, changed.since) == (0.5, there.since)

    done = promote_canary(layout, "v0002", evidence={"live": {}})
    assert done.action == "promoted" and status(layout).champion == trial.version
    assert status(layout).challengers == () and status(layout).warnings == ()
    assert actions(layout) == ["promoted", "canary", "canary", "promoted"]
    assert rollback(layout).version.startswith("v0001")
    assert "canary" in describe_history(layout)


def test_the_worse_is_no_canary_but_may_be_a_shadow(layout: Layout) -> None:
    offer(layout, "poor")
    refused = challenge(RENT, PARAMS, layout, "canary", 0.1)
    assert not refused.accepted and any("worse than the champion beyond noise" in r for r in refused.reasons)
    shadow = challenge(RENT, PARAMS, layout, "shadow")
    assert shadow.accepted
    with pytest.raises(TidelineError, match="is a shadow: it did not pass the gate"):
        promote_canary(layout, shadow.version)
    assert end_trial(layout, shadow.version, "seen enough").action == "ended"
    assert status(layout).challengers == ()
    assert actions(layout) == ["promoted", "refused", "shadow", "ended"]


def test_what_was_withdrawn_is_not_offered_again(layout: Layout) -> None:
    trial = challenge(RENT, PARAMS, layout, "canary", 0.1)
    end_trial(layout, trial.version, "twice the error", withdrawn=True)
    for again in (promote(RENT, PARAMS, layout), challenge(RENT, PARAMS, layout, "shadow")):
        assert not again.accepted and "was withdrawn on" in again.reasons[-1] and "twice the error" in again.reasons[-1]
    assert rollback(layout, to=trial.version).accepted  # by name, whoever insists
    assert submit(layout, "better").action == "already champion"


def test_what_was_seen_in_one_trial_ends_no_other(layout: Layout) -> None:
    trial = challenge(RENT, PARAMS, layout, "canary", 0.1)
    (before,) = status(layout).challengers
    end_trial(layout, trial.version)
    challenge(RENT, PARAMS, layout, "canary", 0.1)
    with pytest.raises(TidelineError, match="was offered again meanwhile: its present trial goes on"):
        end_trial(layout, trial.version, "it failed", withdrawn=True, since=before.since)
    assert [c.version for c in status(layout).challengers] == [trial.version]
    assert actions(layout) == ["promoted", "canary", "ended", "canary"]


def test_trials_end_with_the_champion_that_they_challenge(layout: Layout) -> None:
    offer(layout, "poor")
    shadow = challenge(RENT, PARAMS, layout, "shadow")
    promoted = submit(layout, "better")
    assert promoted.evidence["ended"] == [shadow.version]
    assert status(layout).challengers == ()
    challenge(RENT, PARAMS, layout, "shadow", version="v0001")
    assert rollback(layout).evidence["ended"] == [status(layout).champion]


def test_the_bandit_needs_a_canary_and_ends_with_it(layout: Layout) -> None:
    with pytest.raises(TidelineError, match="has no canary, a bandit nothing to choose"):
        set_router(layout, "bandit")
    trial = challenge(RENT, PARAMS, layout, "canary", 0.1)
    set_router(layout, "bandit")
    assert status(layout).router == "bandit" and "bandit" in describe_status(layout)
    end_trial(layout, trial.version)
    assert status(layout).router == "split" and status(layout).warnings == ()


@pytest.mark.parametrize(("share", "said"), [(0.0, "above 0, at most 1"), (1.1, "above 0, at most 1")])
def test_shares_are_checked(layout: Layout, share: float, said: str) -> None:
    with pytest.raises(TidelineError, match=said):
        challenge(RENT, PARAMS, layout, "canary", share)
    assert status(layout).challengers == ()


def test_nobody_challenges_nobody_or_itself(layout: Layout) -> None:
    offer(layout, "good")
    with pytest.raises(TidelineError, match="cannot challenge itself"):
        challenge(RENT, PARAMS, layout, "shadow")
    with pytest.raises(TidelineError, match=r"does not challenge v0001-\w+; challengers: none"):
        end_trial(layout, "v0001")
    shutil.rmtree(layout.registry)
    with pytest.raises(TidelineError, match="has no champion to challenge"):
        challenge(RENT, PARAMS, layout, "shadow")


def test_the_parity_sample_is_what_a_client_sends_and_evaluation_answers(layout: Layout) -> None:
    version = challenge(RENT, PARAMS, layout, "shadow").version
    sample = read_parity(layout, version)
    assert len(sample.rows) == 64 and sample.digest == load_bundle(versions_folder(layout) / version).digest
    assert {type(row["floor"]) for row in sample.rows} == {int}
    assert {len(row["day"]) for row in sample.rows} == {10}
    assert any(row["size"] is None for row in sample.rows)
    assert find_difference(sample, {"predictions": list(sample.answers)}) == ""
    wrong = [*sample.answers[:-1], sample.answers[-1] * 1.001]
    assert find_difference(sample, {"predictions": wrong}).startswith("row 63 of its sample gives")
    columns = Predictor(versions_folder(layout) / version).columns
    assert list(sample.rows[0]) == [c.name for c in columns]


KILLER = """
import os, sys
from pathlib import Path
from tests.small_task import RENT, small_params
from tideline import rollout
from tideline.layout import Layout

def die(*_, **__):
    os.kill(os.getpid(), 9)
setattr(rollout, sys.argv[2], die)
rollout.challenge(RENT, small_params(), Layout("rent", Path(sys.argv[1])), "canary", 0.1)
"""


@pytest.mark.parametrize("step", ["store_version", "write_parity", "append_entry", "move_pointer"])
def test_a_killed_trial_leaves_the_champion_alone_and_can_be_repeated(layout: Layout, step: str) -> None:
    before = read_pointer(layout)
    done = subprocess.run([sys.executable, "-c", KILLER, str(layout.root), step], cwd=ROOT, capture_output=True)
    assert done.returncode == -9, done.stderr
    assert read_pointer(layout) == before
    lost = step == "move_pointer"
    assert any("never took effect" in text for text in status(layout).warnings) is lost
    assert challenge(RENT, PARAMS, layout, "canary", 0.1).accepted
    assert status(layout).warnings == () and len(status(layout).versions) == 2
    assert actions(layout) == ["promoted", *(["canary", "abandoned"] if lost else []), "canary"]


def test_the_pointer_is_plain_json_and_old_ones_are_read(layout: Layout) -> None:
    place = layout.registry / "champion.json"
    assert set(json.loads(place.read_text())) == {"version", "digest", "seq"}
    trial = challenge(RENT, PARAMS, layout, "canary", 0.1)
    assert [c["version"] for c in json.loads(place.read_text())["challengers"]] == [trial.version]
    assert history(layout).entries[-1].evidence["share"] == 0.1
