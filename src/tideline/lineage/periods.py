"""When a version served and when it was on trial, by the ledger, and why each period ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tideline.ledger import Entry
from tideline.succession import CANARY, ENDED, PROMOTED, ROLLED_BACK, SHADOW, WITHDRAWN, list_moves


@dataclass(frozen=True)
class Period:
    """One period in one role. since, until: times of the entries `seq` and `end`; None: not over yet.

    shares: time -> share of the requests that it was given then. live: what the ledger's last entry says it did.
    """

    role: str
    seq: int
    since: str
    end: int | None = None
    until: str | None = None
    why: str = ""
    shares: tuple[tuple[str, float], ...] = ()
    live: Mapping[str, Any] = field(default_factory=dict)


def list_periods(entries: tuple[Entry, ...], version: str) -> list[Period]:
    """The version's periods as champion, canary and shadow, oldest first."""
    done: list[Period] = []
    current: Period | None = None
    for entry in list_moves(entries):
        if current is not None and (why := _why_over(current, entry, version)):
            live = entry.evidence.get("live")
            told = live if isinstance(live, Mapping) else {}
            done.append(replace(current, end=entry.seq, until=entry.time, why=why, live=told))
            current = None
        if entry.version != version:
            continue
        if entry.action in (PROMOTED, ROLLED_BACK) and current is None:
            current = Period("champion", entry.seq, entry.time)
        elif entry.action in (CANARY, SHADOW):
            share = ((entry.time, float(entry.evidence.get("share", 0.0))),) if entry.action == CANARY else ()
            if current is None:
                current = Period(entry.action, entry.seq, entry.time, shares=share)
            else:
                current = replace(current, shares=(*current.shares, *share))
    return [*done, *([current] if current else [])]


def _why_over(period: Period, entry: Entry, version: str) -> str:
    """Why the entry ends the period; empty if it does not."""
    because = f": {'; '.join(entry.reasons)}" if entry.reasons else ""
    if period.role == "champion":
        if entry.action == PROMOTED and entry.version != version:
            return f"{entry.version} was promoted{because}"
        if entry.action == ROLLED_BACK and entry.version != version:
            return f"rolled back to {entry.version}{because}"
        return ""
    if entry.action in (PROMOTED, ROLLED_BACK):
        if entry.version == version:
            return f"it became champion{because}"
        verb = "was promoted" if entry.action == PROMOTED else "became champion again"
        return f"{entry.version} {verb}, which ends every trial{because}"
    if entry.version != version:
        return ""
    if entry.action in (ENDED, WITHDRAWN):
        return f"it was {'withdrawn for what it did live' if entry.action == WITHDRAWN else 'taken out'}{because}"
    if entry.action in (CANARY, SHADOW) and entry.action != period.role:
        return f"it became a {entry.action}"
    return ""
