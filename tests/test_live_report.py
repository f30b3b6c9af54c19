"""Whoever is compared live is compared over the same time: by the judgement, by the bandit and in the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.predlog.conftest import postgres, postgres_session, store, url  # noqa: F401, fixtures
from tests.predlog.samples import START, make_rents
from tideline.bandit import share_requests
from tideline.layout import Layout
from tideline.live_report import measure_trial
from tideline.live_tally import TrialTallies
from tideline.pointer import Challenger, Pointer
from tideline.predlog import Label, Role, Store

DAY = 86_400 * 10**6  # µs
CHAMPION, FIRST, SECOND = "v0001-aaaa", "v0002-bbbb", "v0003-cccc"
MONDAY, WEDNESDAY = START, START + 2 * DAY


def answer(store: Store, version: str, role: Role, start: int, loss: float, rows: int = 200) -> None:  # noqa: F811
    """Rows from a time on, whose labels are off by about `loss`."""
    records = make_rents(rows, start=start, version=version, role=role, prediction=300.0)
    store.append(records)
    labels = [Label(r.prediction_id, 300.0 + loss + i % 5 - 2) for i, r in enumerate(records)]
    assert {a.state for a in store.record_labels(labels)} == {"accepted"}


@pytest.fixture
def pointer(store: Store) -> Pointer:  # noqa: F811
    """The first canary began in an easy week, the second when the days had become hard for everybody."""
    answer(store, CHAMPION, "champion", MONDAY, 50.0)
    answer(store, FIRST, "canary", MONDAY, 50.0)
    for version, role in ((CHAMPION, "champion"), (FIRST, "canary"), (SECOND, "canary")):
        answer(store, version, role, WEDNESDAY, 100.0)  # type: ignore[arg-type]
    answer(store, SECOND, "canary", MONDAY, 500.0)  # in an earlier trial, before it was offered again
    canaries = (
        Challenger(FIRST, "1", "canary", 0.1, MONDAY, 2),
        Challenger(SECOND, "2", "canary", 0.1, WEDNESDAY, 3),
    )
    return Pointer(CHAMPION, "0", 3, canaries, "bandit")


def test_a_later_challenger_is_held_against_its_own_days(store: Store, pointer: Pointer, tmp_path: Path) -> None:  # noqa: F811
    trial = measure_trial(store, Layout("rent", tmp_path), pointer)
    told = {v["version"]: v for v in trial["versions"]}
    assert [v["against"] for v in trial["versions"]] == [[], [], []]
    assert (trial["since"], told[SECOND]["since"]) == (MONDAY, WEDNESDAY)
    assert (told[SECOND]["labelled"], told[SECOND]["mae"]["value"]) == (200, pytest.approx(100.0))
    assert told[SECOND]["champion"]["mae"]["value"] == pytest.approx(100.0)
    assert told[FIRST]["champion"]["mae"]["value"] == pytest.approx(75.0)
    assert trial["regret"] == pytest.approx(0.0)


def test_the_bandit_compares_days_that_all_have_seen(store: Store, pointer: Pointer) -> None:  # noqa: F811
    answering = TrialTallies(store, "rent", pointer).list_answering()
    assert [(t.version, t.role, t.loss.n) for t in answering] == [
        (CHAMPION, "champion", 200), (FIRST, "canary", 200), (SECOND, "canary", 200),
    ]  # fmt: skip
    assert share_requests([t.loss for t in answering]) == pytest.approx([1 / 3] * 3, abs=0.05)


def test_a_worse_one_is_seen_all_the_same(store: Store, pointer: Pointer, tmp_path: Path) -> None:  # noqa: F811
    answer(store, SECOND, "canary", WEDNESDAY + DAY, 140.0, rows=300)
    told = {v["version"]: v["against"] for v in measure_trial(store, Layout("rent", tmp_path), pointer)["versions"]}
    assert told[FIRST] == [] and "its live error is 124" in told[SECOND][0]
