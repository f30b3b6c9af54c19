"""A verdict as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from tideline.monitor.records import Check, WindowVerdict

_WORDS = {
    "quiet": "quiet",
    "watch": "watch: something is breached, and must persist before it is an alarm",
    "alarm": "ALARM",
    "undecided": "undecided: too few rows",
}


def describe_window(verdict: WindowVerdict) -> str:
    """Headline, what is breached, each subject's largest effect, errors, and what could not be judged."""
    lines = [
        f"{verdict.task} {verdict.version}: {_WORDS[verdict.status]}",
        f"  {verdict.rows:,} rows, {describe_time(verdict.first)} to {describe_time(verdict.last)} UTC; "
        f"{len(verdict.checks)} checks, alpha {verdict.alpha:g} (Holm), alarms after {verdict.persist} windows",
    ]
    if verdict.breaches:
        lines += ["", f"  {'BREACHED':32}{'test':20}{'effect':>10}{'threshold':>11}{'p (adj.)':>10}{'windows':>9}"]
        lines += [_breach(check, verdict.persist) for check in verdict.breaches]
    if others := _largest(verdict.checks):
        lines += ["", f"  {'largest effect':32}{'test':20}{'effect':>10}{'threshold':>11}{'p (adj.)':>10}"]
        lines += [_row(check) for check in others]
    lines += ["", *_errors(verdict)]
    lines += [f"  note: {note}" for note in verdict.notes]
    return "\n".join(lines)


def describe_history(verdicts: Iterable[WindowVerdict]) -> str:
    """One line a verdict, in the order given."""
    lines = []
    for v in verdicts:
        found = ", ".join(dict.fromkeys(f"{c.subject} ({c.test})" for c in v.breaches)) or "nothing"
        span = f"{describe_time(v.first)} to {describe_time(v.last)}"
        lines.append(f"{span}  {v.version}  {v.rows:>8,} rows  {v.status:9}  {found}")
    return "\n".join(lines) or "no verdict is stored yet; `tideline monitor TASK` makes one"


def _breach(check: Check, persist: int) -> str:
    state = "ALARM" if check.alarm else f"{check.windows}/{persist}"
    remark = f"  {check.remark}" if check.remark else ""
    return f"{_row(check)}{state:>9}{remark}"


def _row(check: Check) -> str:
    name = check.subject if check.part == "column" else f"[{check.subject}]"
    tail = "" if check.adjusted is None else f"{check.adjusted:.2g}"
    return f"  {name:32}{check.test:20}{check.effect:>10.4f}{check.threshold:>11.4g}{tail:>10}"


def _largest(checks: Iterable[Check]) -> list[Check]:
    """Of each subject that is not breached, the check that is nearest to its threshold."""
    nearest: dict[tuple[str, str], Check] = {}
    breached = {(check.part, check.subject) for check in checks if check.breached}
    for check in checks:
        key, before = (check.part, check.subject), nearest.get((check.part, check.subject))
        if key not in breached and (
            before is None or check.effect / check.threshold > before.effect / before.threshold
        ):
            nearest[key] = check
    return list(nearest.values())


def _errors(verdict: WindowVerdict) -> list[str]:
    e = verdict.errors
    if verdict.status == "undecided":
        return []
    share = e.labelled / verdict.rows if verdict.rows else 0.0
    lag = "" if e.lag is None else f", {e.lag / 3600:,.2f} h after the prediction on average"
    lines = [f"  labels: {e.labelled:,} of these rows ({share:.1%}){lag if e.span is None else ''}"]
    if e.span is not None:
        lines.append(
            f"  errors by the labels of {e.span.rows:,} rows, {describe_time(e.span.first)} to "
            f"{describe_time(e.span.last)} UTC{lag}"
        )
    if e.realised is not None:
        before = "" if e.reference is None else f", at training {e.reference:,.6g}"
        lines.append(f"  mean absolute error, by labels: {e.realised:,.6g}{before}")
    if e.estimated is not None:
        known = ""
        if e.estimated_labelled is not None and e.realised_labelled is not None:
            known = f"; of labelled rows: estimated {e.estimated_labelled:,.6g}, realised {e.realised_labelled:,.6g}"
        lines.append(f"  mean absolute error, estimated without labels: {e.estimated:,.6g}{known}")
    lines += [f"  inside of {float(level):.0%} intervals: {share:.1%}" for level, share in sorted(e.coverage.items())]
    return lines


def describe_time(moment: int | None) -> str:
    """µs since 1970-01-01 as a date and time in UTC, "-" for None."""
    return "-" if moment is None else datetime.fromtimestamp(moment / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
