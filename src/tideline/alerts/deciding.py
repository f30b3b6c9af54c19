"""Which of it is told: what a rule picks, what was told before, and what is over. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Final

from tideline.alert import Alert, AlertStatus
from tideline.monitor.records import ALARM, UNDECIDED, WATCH, Check, WindowVerdict
from tideline.params import AlertRule
from tideline.predlog import SKEW, StoredAlert, mint_ids

MONITOR: Final = "monitor"
RECOVERED: Final = "recovered"
HOUR = 3_600_000_000  # µs


def pick_checks(rule: AlertRule, verdict: WindowVerdict) -> tuple[Check, ...]:
    """The breached checks of a verdict that a rule is about."""
    return tuple(
        check
        for check in verdict.breaches
        if (ALARM if check.alarm else WATCH) in rule.statuses
        and check.concern in rule.concerns
        and (not rule.subjects or check.subject in rule.subjects)
    )


def decide_on_verdict(
    rule_name: str, rule: AlertRule, verdict: WindowVerdict, earlier: Sequence[StoredAlert], now: int
) -> list[StoredAlert]:
    """The alerts that a verdict calls for under a rule. earlier: of the same task and rule, the newest first.

    What was told within `repeat_hours`, about the same version, subjects and concerns, is not told again, unless it had
    ended in between. A window that is older than the one that was told of last changes nothing.
    """
    newest = earlier[0] if earlier else None
    moment = verdict.judged if verdict.last is None else verdict.last
    if newest is not None and newest.last is not None and moment < newest.last <= min(newest.raised, now) + SKEW:
        return []  # but one of a window that lay in the future silences nothing
    standing = find_standing(earlier)
    made: list[StoredAlert] = []
    if standing and standing[0].version != verdict.version:
        text = f"{verdict.task} {standing[0].version}: what was told is over, {verdict.version} is champion now"
        over = replace(_recover(verdict, text), version=standing[0].version)
        made.append(store_alert(over, rule_name, "", now, verdict.last))
        standing = []
    checks = pick_checks(rule, verdict)
    undecided = not verdict.enough and UNDECIDED in rule.statuses
    if checks or undecided:
        alert = _describe_checks(verdict, checks) if checks else _describe_undecided(verdict)
        key = make_key((ALARM if c.alarm else WATCH, c.concern, c.subject) for c in checks)
        if not was_told(standing, verdict.version, key, now, rule.repeat_hours):
            made.append(store_alert(alert, rule_name, key, now, verdict.last))
    elif standing and verdict.enough:  # one of too few rows says nothing, so neither that it is over
        text = f"{verdict.task} {verdict.version}: recovered, nothing of what was told is breached any more"
        made.append(store_alert(_recover(verdict, text), rule_name, "", now, verdict.last))
    return made


def decide_on_alert(
    rule_name: str, rule: AlertRule, alert: Alert, earlier: Sequence[StoredAlert], now: int
) -> list[StoredAlert]:
    """The same for an alert that somebody else raises; a `recovered` is told only if there was something."""
    standing = find_standing(earlier)
    key = "" if alert.status == RECOVERED else make_key((alert.status, *alert.concerns, s) for s in alert.subjects)
    if alert.status == RECOVERED:
        is_new = bool(standing)
    else:
        is_new = not was_told(standing, alert.version, key, now, rule.repeat_hours)
    return [store_alert(alert, rule_name, key, now, None)] if is_new else []


def find_standing(earlier: Iterable[StoredAlert]) -> list[StoredAlert]:
    """Of earlier alerts (newest first) those that have not ended."""
    return list(takewhile(lambda alert: alert.status != RECOVERED, earlier))


def was_told(standing: Iterable[StoredAlert], version: str, key: str, now: int, hours: float) -> bool:
    """True if the same stands already, and was told within so many hours; not if a clock that ran ahead says when."""
    return any(a.version == version and a.key == key and -SKEW <= now - a.raised < hours * HOUR for a in standing)


def make_key(parts: Iterable[tuple[str, ...]]) -> str:
    """What alerts about the same have in common."""
    return "\n".join(sorted({"/".join(part) for part in parts}))


def store_alert(alert: Alert, rule: str, key: str, now: int, last: int | None) -> StoredAlert:
    """As it is kept, with a name and a time of its own."""
    named = replace(alert, raised=now, name=mint_ids(1)[0])
    text = named.to_json()
    return StoredAlert(named.task, named.version, named.source, rule, named.status, key, now, last, text)


def _describe_checks(verdict: WindowVerdict, checks: Sequence[Check]) -> Alert:
    status: AlertStatus = ALARM if any(check.alarm for check in checks) else WATCH
    subjects = tuple(dict.fromkeys(check.subject for check in checks))
    word = "ALARM" if status == ALARM else "watch"
    title = f"{verdict.task} {verdict.version}: {word}: {', '.join(subjects)}"
    concerns = tuple(dict.fromkeys(check.concern for check in checks))
    return Alert(
        verdict.task, verdict.version, MONITOR, status, concerns, subjects, title,
        tuple(_describe(check) for check in checks), _facts(verdict, checks),
    )  # fmt: skip


def _describe(check: Check) -> str:
    chance = "" if check.adjusted is None else f", p {check.adjusted:.2g}"
    remark = f" ({check.remark})" if check.remark else ""
    return f"{check.subject}: {check.test} {check.effect:.4g}, threshold {check.threshold:.4g}{chance}{remark}"


def _describe_undecided(verdict: WindowVerdict) -> Alert:
    title = f"{verdict.task} {verdict.version}: undecided, {verdict.rows:,} rows are too few"
    facts = _facts(verdict, ())
    return Alert(verdict.task, verdict.version, MONITOR, UNDECIDED, (), (), title, verdict.notes, facts)


def _recover(verdict: WindowVerdict, title: str) -> Alert:
    return Alert(verdict.task, verdict.version, MONITOR, RECOVERED, (), (), title, (), _facts(verdict, ()))


def _facts(verdict: WindowVerdict, checks: Sequence[Check]) -> dict[str, object]:
    told = [
        {"subject": c.subject, "part": c.part, "test": c.test, "concern": c.concern, "effect": c.effect,
         "threshold": c.threshold, "p_adjusted": c.adjusted, "windows": c.windows, "alarm": c.alarm, "remark": c.remark}
        for c in checks
    ]  # fmt: skip
    window = {"rows": verdict.rows, "first": verdict.first, "last": verdict.last, "judged": verdict.judged}
    return {"window": window, "checks": told}
