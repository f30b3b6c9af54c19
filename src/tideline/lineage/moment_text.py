"""Who served at a moment, in words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tideline.lineage.moments import Moment, State, read_time


def describe_moment(task: str, moment: Moment, now: datetime) -> str:
    """A few lines for a terminal."""
    when = _date(moment.time)
    if moment.state is None:
        first = moment.first
        told = (
            f"the first promotion ({first.version}) was on {_date(read_time(first.time))}" if first else "none is yet"
        )
        lines = [f"{task} at {when}: nothing was served; {told}"]
    else:
        tense = " (in the future: as things stand now)" if moment.time > now else ""
        lines = [f"{task} at {when}{tense}: champion {moment.state.champion}", *_describe_state(moment.state)]
    for state in moment.others:
        lines.append(f"  it may also have been, by clocks that ran ahead: champion {state.champion}")
        lines += [f"  {line}" for line in _describe_state(state)]
    for a, b in moment.backwards:
        lines.append(
            f"  times run backwards: entry {a.seq} ({a.action}) says {a.time}, entry {b.seq} ({b.action}), which came "
            f"later, {b.time}; the order of the entries is the truth, one of the clocks was wrong"
        )
    return "\n".join(lines)


def tell_moment(task: str, moment: Moment) -> dict[str, Any]:
    """The same, JSON-ready. shares: of the requests, by the ledger; a bandit's change with the labels."""
    return {
        "task": task,
        "time": moment.time.isoformat(),
        "state": _tell_state(moment.state) if moment.state else None,
        "first_promotion": moment.first.time if moment.first else None,
        "maybe": [_tell_state(state) for state in moment.others],
        "backwards": [[{"seq": e.seq, "time": e.time} for e in pair] for pair in moment.backwards],
    }


def _describe_state(state: State) -> list[str]:
    lines = [f"  by entry {state.champion_seq} of the ledger; nothing changed after entry {state.seq} ({state.time})"]
    if state.challengers:
        lines.append(f"  {state.champion_share:6.0%}  {state.champion}  champion")
        lines += [
            f"  {c.share:6.0%}  {c.version}  canary"
            if c.role == "canary"
            else f"          {c.version}  shadow (answers nobody)"
            for c in state.challengers
        ]
    if state.router == "bandit":
        lines.append("  a bandit set the shares by what labels told: these are the ones that it began with")
    return lines


def _tell_state(state: State) -> dict[str, Any]:
    beside = [{"version": c.version, "role": c.role, "share": c.share, "seq": c.seq} for c in state.challengers]
    return {
        "champion": state.champion,
        "champion_seq": state.champion_seq,
        "champion_share": state.champion_share,
        "challengers": beside,
        "router": state.router,
        "seq": state.seq,
        "since": state.time,
    }


def _date(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC")
