"""The guard, case by case: what calls for a retraining, and what forbids it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.small_task import small_params
from tideline.retraining.guard import DAY, HOUR, Alarms, Facts, decide, decide_early

SETTINGS = replace(small_params().retraining, labels=500, fresh_rows=100, cooldown_hours=24, budget=3, every_days=0.0)
NOW = 1_700_000_000_000_000
LOSS = Alarms("alarm", errors=("realised error is 45% above training, 3 windows in a row",))
FACTS = Facts("bikes", "v0001-a", NOW, "key", labels=800, fresh=160, since=NOW - 40 * DAY, alarms=LOSS)


@pytest.mark.parametrize(
    ("changes", "trigger", "reason"),
    [
        ({}, "loss of quality", "persistent loss of quality: realised error is 45% above training"),
        ({"alarms": Alarms(), "by_hand": "new bikes"}, "by hand", "by hand: new bikes"),
        ({"alarms": Alarms("quiet"), "by_hand": ""}, "by hand", "by hand"),
        ({"finished": (NOW - 2 * HOUR,), "by_hand": "x"}, "by hand", "overridden: the last retraining was 2.0 h ago"),
        ({"finished": (NOW - 25 * HOUR,)}, "loss of quality", "persistent loss"),
        ({"finished": tuple(NOW - d * DAY for d in (2, 9, 31))}, "loss of quality", "persistent loss"),
        ({"alarms": Alarms("quiet"), "unfinished": "by hand: y"}, "unfinished", "never finished (by hand: y)"),
        ({"failed": (NOW - HOUR,)}, "loss of quality", "persistent loss"),
        ({"failed": (NOW - 100 * HOUR, NOW - 24.5 * HOUR) * 9}, "loss of quality", "persistent loss"),  # no more
        ({"failed": (NOW,), "by_hand": "x"}, "by hand", "overridden: 1 in a row failed"),
        ({"unfinished": "z", "labels": 0, "finished": (NOW,)}, "unfinished", "never finished"),
        ({"finished": (NOW + DAY,), "failed": (NOW + DAY,)}, "loss of quality", "persistent loss"),  # a wrong clock's
        ({"canaries": ("v0002-b",), "by_hand": "x"}, "by hand", "overridden: v0002-b is a canary on trial"),
        ({"canaries": ("v0002-b",), "by_hand": "x", "taken": 0.7, "share": 0.3}, "by hand", "overridden: v0002-b"),
        ({"canaries": ("v0002-b",), "unfinished": "z"}, "unfinished", "never finished"),
    ],
)
def test_it_acts(changes: dict[str, object], trigger: str, reason: str) -> None:
    decision = decide(replace(FACTS, **changes), SETTINGS)  # type: ignore[arg-type]
    assert decision.act and decision.trigger == trigger
    assert reason in " | ".join(decision.reasons)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"champion": "", "by_hand": "x"}, "no champion"),
        ({"done": "refused", "by_hand": "x"}, "done already: the same champion and the same labelled rows (refused)"),
        ({"labels": 499}, "499 new labelled rows are too few; 500 would do"),
        ({"labels": 499, "by_hand": "x"}, "499 new labelled rows are too few"),
        ({"fresh": 99, "by_hand": "x"}, "the fresh holdout would have 99 rows"),
        ({"finished": (NOW - 23 * HOUR,)}, "the last retraining was 23.0 h ago, the pause is 24 h"),
        ({"finished": tuple(NOW - d * DAY for d in (2, 9, 29))}, "3 retrainings in 30 days are all that may be"),
        ({"failed": (NOW - HOUR // 4,)}, "1 in a row failed, the last one 0.2 h ago; it is tried again after 0.5 h"),
        ({"failed": (NOW - 9 * HOUR, NOW - 6 * HOUR, NOW - HOUR)}, "3 in a row failed, the last one 1.0 h ago"),
        ({"finished": (NOW + HOUR // 100,)}, "the last retraining was 0.0 h ago"),  # clocks differ a little
        ({"canaries": ("v0002-b",)}, "v0002-b is a canary on trial: its end comes first"),
        (
            {"canaries": ("v0002-b",), "by_hand": "x", "taken": 0.8, "share": 0.3},
            "the canaries on trial (v0002-b) have 80% already, 30% more is above 100 %",
        ),
        ({"labels": 0, "withdrawn": ("v0002-b",)}, "what v0002-b had learnt is not new: withdrawn"),
        ({"alarms": Alarms()}, "no verdict on the champion yet"),
        ({"alarms": Alarms("quiet")}, "the verdict is quiet"),
        ({"alarms": Alarms("alarm", drifts=("temp (psi)",))}, "drift alone is not enough: temp (psi)"),
        ({"alarms": Alarms("watch", pending=("realised error, 2 windows",))}, "not for enough windows in a row yet"),
        ({"alarms": Alarms("alarm", faults=("hum (missing_share)",))}, "faults of the data are to be repaired"),
    ],
)
def test_it_waits(changes: dict[str, object], reason: str) -> None:
    decision = decide(replace(FACTS, **changes), SETTINGS)  # type: ignore[arg-type]
    assert not decision.act
    assert reason in " | ".join(decision.reasons)


@pytest.mark.parametrize(
    ("changes", "act"),
    [
        ({}, True),
        ({"finished": (NOW - HOUR,)}, False),
        ({"finished": (NOW - HOUR,), "by_hand": "x"}, True),
        ({"finished": (NOW - HOUR,), "unfinished": "x"}, True),
        ({"failed": (NOW,)}, False),
        ({"alarms": Alarms("quiet")}, False),
        ({"champion": ""}, False),
    ],
)
def test_a_pause_needs_no_log_to_be_seen(changes: dict[str, object], act: bool) -> None:
    unread = replace(FACTS, key="", labels=0, fresh=0, **changes)  # type: ignore[arg-type]
    assert decide_early(unread, SETTINGS).act is act


def test_the_schedule_acts_without_an_alarm_once_its_days_are_over() -> None:
    quiet = replace(FACTS, alarms=Alarms("quiet"))
    assert not decide(quiet, SETTINGS).act
    assert decide(quiet, replace(SETTINGS, every_days=30.0)).trigger == "schedule"
    assert not decide(quiet, replace(SETTINGS, every_days=41.0)).act
    trained = replace(quiet, finished=(NOW - 29 * DAY,))  # which the gate refused
    assert not decide(trained, replace(SETTINGS, every_days=30.0)).trigger
    again = decide(trained, replace(SETTINGS, every_days=28.0))
    assert again.act and again.reasons[0].startswith("29.0 days since the last training")
    ahead = replace(trained, since=NOW + 9 * DAY)
    assert decide(ahead, replace(SETTINGS, every_days=28.0)).act
    assert not decide(replace(quiet, canaries=("v0002-b",)), replace(SETTINGS, every_days=30.0)).act


def test_what_forbids_is_said_beside_what_calls_for_it() -> None:
    decision = decide(replace(FACTS, labels=3, finished=(NOW,)), SETTINGS)
    assert [r[:12] for r in decision.reasons] == ["3 new labell", "the last ret", "persistent l"]
