"""Who served when: shares, trials that end, what came before the first promotion, and clocks that run backwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tideline.contracts import TidelineError
from tideline.ledger import Entry
from tideline.lineage.moment_text import describe_moment
from tideline.lineage.moments import Moment, find_moment, list_states, parse_moment
from tideline.lineage.periods import list_periods

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=30)


def make_ledger(*acts: tuple[float, str, str, dict[str, Any]]) -> tuple[Entry, ...]:
    """Entries: hours after START, action, version, evidence."""
    return tuple(
        Entry(n, (START + timedelta(hours=h)).isoformat(), action, version, version * 8, (), evidence, "", "")
        for n, (h, action, version, evidence) in enumerate(acts, start=1)
    )


LEDGER = make_ledger(
    (0, "promoted", "a", {}),
    (1, "canary", "b", {"share": 0.1}),
    (2, "shadow", "c", {}),
    (3, "canary", "b", {"share": 0.4}),
    (4, "routed", "a", {"router": "bandit"}),
    (5, "withdrawn", "b", {"live": {"versions": []}}),
    (6, "promoted", "d", {}),
    (7, "rolled back", "a", {"from": "d"}),
)


def at(hours: float, entries: tuple[Entry, ...] = LEDGER) -> Moment:
    return find_moment(entries, START + timedelta(hours=hours))


def test_champion_challengers_and_shares_at_each_moment() -> None:
    expected = {
        0: ("a", 1.0, []), 1.5: ("a", 0.9, [("b", "canary", 0.1)]),
        2: ("a", 0.9, [("b", "canary", 0.1), ("c", "shadow", 0.0)]),
        3.5: ("a", 0.6, [("c", "shadow", 0.0), ("b", "canary", 0.4)]),
        5: ("a", 1.0, [("c", "shadow", 0.0)]), 6: ("d", 1.0, []), 100: ("a", 1.0, []),
    }  # fmt: skip
    for hours, (champion, share, beside) in expected.items():
        state = at(hours).state
        assert state is not None and state.champion == champion
        assert state.champion_share == pytest.approx(share)
        assert [(c.version, c.role, c.share) for c in state.challengers] == beside
    assert [state.router for state in list_states(LEDGER)] == ["split"] * 4 + ["bandit"] + ["split"] * 3


def test_before_the_first_promotion_nothing_served_and_it_is_said() -> None:
    moment = at(-1)
    assert moment.state is None
    said = describe_moment("rent", moment, NOW)
    assert "nothing was served" in said and "(a) was on 2026-01-01" in said
    assert "none is yet" in describe_moment("rent", find_moment((), START), NOW)


def test_an_entry_whose_writer_was_stopped_does_not_count() -> None:
    entries = make_ledger((0, "promoted", "a", {}), (1, "promoted", "b", {}), (2, "abandoned", "b", {"seq": 2}))
    state = at(3, entries).state
    assert state is not None and state.champion == "a"


def test_where_times_run_backwards_the_order_decides_and_the_doubt_is_told() -> None:
    entries = make_ledger((0, "promoted", "a", {}), (10, "promoted", "b", {}), (5, "promoted", "c", {}))
    moment = at(7, entries)  # after entry 3 by its clock, before entry 2 by that one's
    assert moment.state is not None and moment.state.champion == "c"
    assert [state.champion for state in moment.others] == ["a", "b"]
    assert [(a.seq, b.seq) for a, b in moment.backwards] == [(2, 3)]
    assert "times run backwards: entry 2" in describe_moment("rent", moment, NOW)
    late = at(11, entries)
    assert late.state is not None and late.state.champion == "c" and not late.others


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-05", datetime(2026, 1, 5, tzinfo=UTC)),
        ("2026-01-05T12:30", datetime(2026, 1, 5, 12, 30, tzinfo=UTC)),
        ("2026-01-05T12:30+02:00", datetime(2026, 1, 5, 10, 30, tzinfo=UTC)),
        ("2 days ago", NOW - timedelta(days=2)),
        ("an hour ago", NOW - timedelta(hours=1)),
        ("now", NOW),
    ],
)
def test_times_as_people_write_them(text: str, expected: datetime) -> None:
    assert parse_moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["yesterday-ish", "2 fortnights ago", "", "-1 days ago", "2026-13-01"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(TidelineError, match="is no time; write 2025-01-31"):
        parse_moment(text, NOW)


def test_periods_say_when_and_why_they_ended() -> None:
    (trial,) = list_periods(LEDGER, "b")
    assert (trial.role, trial.seq, trial.end) == ("canary", 2, 6)
    assert [share for _, share in trial.shares] == [0.1, 0.4]
    assert "withdrawn" in trial.why and trial.live == {"versions": []}
    (shadow,) = list_periods(LEDGER, "c")
    assert (shadow.role, shadow.end) == ("shadow", 7) and "d was promoted" in shadow.why
    first, again = list_periods(LEDGER, "a")
    assert (first.end, again.seq, again.until) == (7, 8, None)
    (short,) = list_periods(LEDGER, "d")
    assert short.why == "rolled back to a"
