"""Who served a task at a moment, by the ledger.

The ledger's order is the truth: an entry with a higher number came later, whatever the clock of its writer said. Where
times run backwards a moment may belong to several states; all of them are told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from tideline.contracts import TidelineError
from tideline.ledger import Entry
from tideline.pointer import ChallengerRole
from tideline.succession import CANARY, ENDED, PROMOTED, ROLLED_BACK, ROUTED, SHADOW, WITHDRAWN, list_moves

_UNITS = {"minute": "minutes", "hour": "hours", "day": "days", "week": "weeks"}


@dataclass(frozen=True)
class Beside:
    """A challenger at a moment. share: of the requests, by the ledger. seq: the entry that set it there."""

    version: str
    role: ChallengerRole
    share: float
    seq: int


@dataclass(frozen=True)
class State:
    """What the pointer said after an entry. time: the entry's, as its writer's clock had it."""

    seq: int
    time: str
    champion: str
    champion_seq: int
    challengers: tuple[Beside, ...] = ()
    router: str = "split"

    @property
    def champion_share(self) -> float:
        """The share of the requests that the canaries left to the champion."""
        return 1 - sum(c.share for c in self.challengers)


@dataclass(frozen=True)
class Moment:
    """Who served at a time. state: None before the first promotion. others: states that it may have been instead,
    because times run backwards. backwards: pairs of entries between which they do."""

    time: datetime
    state: State | None
    others: tuple[State, ...] = ()
    backwards: tuple[tuple[Entry, Entry], ...] = ()
    first: Entry | None = field(default=None)


def parse_moment(text: str, now: datetime) -> datetime:
    """`2025-01-31`, `2025-01-31T12:00`, `now`, `2 days ago`; UTC if it names no zone. Raises TidelineError."""
    text = text.strip()
    if text == "now":
        return now
    if match := re.fullmatch(r"(\d{1,6}|an?)\s+(minute|hour|day|week)s?\s+ago", text):
        count = int(match[1]) if match[1].isdigit() else 1
        return now - timedelta(**{_UNITS[match[2]]: count})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise TidelineError(
            f"{text!r} is no time; write 2025-01-31, 2025-01-31T12:00, '2 days ago', '90 minutes ago' or now"
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def find_moment(entries: tuple[Entry, ...], time: datetime) -> Moment:
    """Who served then. The state is that of the last entry, in the ledger's order, whose time is not later."""
    states = list_states(entries)
    backwards = find_backwards(list_moves(entries))
    first = next((e for e in entries if states and e.seq == states[0].seq), None)
    reached = [number for number, state in enumerate(states) if read_time(state.time) <= time]
    if not reached:
        return Moment(time, None, (), backwards, first)
    last = reached[-1]
    # An entry before it whose clock was ahead: by that clock the moment lies before it, and the ones that follow.
    early = next((n for n, state in enumerate(states[: last + 1]) if read_time(state.time) > time), None)
    start = last if early is None else max(early - 1, 0)
    return Moment(time, states[last], tuple(states[start:last]), backwards, first)


def list_states(entries: tuple[Entry, ...]) -> list[State]:
    """What the pointer said after each entry that moved it, in the ledger's order."""
    states: list[State] = []
    state: State | None = None
    for entry in list_moves(entries):
        state = _follow(state, entry)
        if state is not None:
            states.append(state)
    return states


def find_backwards(entries: list[Entry]) -> tuple[tuple[Entry, Entry], ...]:
    """Neighbours of which the later one has the earlier time."""
    pairs = pairwise(entries)
    return tuple((a, b) for a, b in pairs if read_time(b.time) < read_time(a.time))


def read_time(text: str) -> datetime:
    """An entry's time."""
    return datetime.fromisoformat(text)


def _follow(state: State | None, entry: Entry) -> State | None:
    if entry.action in (PROMOTED, ROLLED_BACK):
        return State(entry.seq, entry.time, entry.version, entry.seq)
    if state is None:
        return None  # the ledger of a registry whose beginning was lost
    rest = tuple(c for c in state.challengers if c.version != entry.version)
    router = state.router
    if entry.action in (CANARY, SHADOW):
        role: ChallengerRole = "canary" if entry.action == CANARY else "shadow"
        rest = (*rest, Beside(entry.version, role, float(entry.evidence.get("share", 0.0)), entry.seq))
    elif entry.action in (ENDED, WITHDRAWN):
        router = router if any(c.role == "canary" for c in rest) else "split"
    elif entry.action == ROUTED:
        rest, router = state.challengers, str(entry.evidence.get("router", router))
    return replace(state, seq=entry.seq, time=entry.time, challengers=rest, router=router)
