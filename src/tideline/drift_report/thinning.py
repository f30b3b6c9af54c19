"""Which windows stay drawn: the latest ones, and of the days before one each."""

from __future__ import annotations

from collections.abc import Iterable


def choose_kept(moments: Iterable[str], keep: int, days: int) -> set[str]:
    """Of windows' times (text, such as 2026-01-31T12-00-00) the latest `keep`, and the last of each of the latest
    `days` days that have one: at most `keep` + `days`."""
    ordered = sorted(moments)
    last_of_day = {moment[:10]: moment for moment in ordered}
    return {*ordered[-keep:], *sorted(last_of_day.values())[-days:]} if days else set(ordered[-keep:])
