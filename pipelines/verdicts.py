"""A verdict in Prefect: a table that a person reads, and an event that an automation hears."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.events import emit_event

from pipelines.artefacts import artefact_key
from tideline.alerts import Sent
from tideline.monitor import Check, WindowVerdict
from tideline.monitor.show import describe_time, describe_window

ROWS = 20  # breaches that the table shows


def show_verdict(verdict: WindowVerdict) -> None:
    """The verdict as an artefact of the run."""
    create_markdown_artifact(
        describe_verdict(verdict), key=artefact_key("verdict", verdict.task), description=verdict.status
    )


def show_backfill(task: str, verdicts: Sequence[WindowVerdict]) -> None:
    """A line for each window that was judged, as an artefact of the run."""
    rows = [
        {"first (UTC)": describe_time(v.first), "last (UTC)": describe_time(v.last), "rows": v.rows,
         "verdict": v.status, "alarms": ", ".join(dict.fromkeys(check.subject for check in v.alarms))}
        for v in verdicts
    ]  # fmt: skip
    create_table_artifact(rows, key=artefact_key("backfill", task), description=f"Past windows of {task}")


def describe_verdict(verdict: WindowVerdict) -> str:
    """Markdown: headline, a table of what is breached, and the whole as the terminal shows it."""
    lines = [f"## {verdict.task} {verdict.version}: {verdict.status}", "", f"{verdict.rows:,} rows"]
    if verdict.breaches:
        lines += [
            "",
            "| breached | test | effect | threshold | windows | |",
            "| --- | --- | ---: | ---: | ---: | --- |",
        ]
        lines += [_describe_breach(check) for check in verdict.breaches[:ROWS]]
        if len(verdict.breaches) > ROWS:
            lines += ["", f"and {len(verdict.breaches) - ROWS} more"]
    return "\n".join([*lines, "", "```", describe_window(verdict), "```"])


def announce(verdict: WindowVerdict, sent: Sent | None = None) -> None:
    """Emit the event `tideline.verdict.<status>` about the resource `tideline.task.<task>`, and `tideline.alert` for
    each alert that is new."""
    emit_event(
        event=f"tideline.verdict.{verdict.status}",
        resource={"prefect.resource.id": f"tideline.task.{verdict.task}", "prefect.resource.name": verdict.task},
        payload={
            "version": verdict.version,
            "rows": verdict.rows,
            "first": verdict.first,
            "last": verdict.last,
            "alarms": [f"{check.subject} ({check.test})" for check in verdict.alarms],
        },
    )
    emit_alerts((sent or Sent()).to_dict()["raised"])


def emit_alerts(raised: Iterable[Mapping[str, Any]]) -> None:
    """Emit the event `tideline.alert` for each alert that is new (`Sent.to_dict`)."""
    for alert in raised:
        emit_event(
            event="tideline.alert",
            resource={"prefect.resource.id": f"tideline.task.{alert['task']}", "prefect.resource.name": alert["task"]},
            payload={name: alert[name] for name in ("status", "title", "subjects")},
        )


def _describe_breach(check: Check) -> str:
    state = "**ALARM**" if check.alarm else ""
    figures = f"{check.effect:.4g} | {check.threshold:.4g} | {check.windows}"
    return f"| {check.subject} | {check.test} | {figures} | {state} |"
