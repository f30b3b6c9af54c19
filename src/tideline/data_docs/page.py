"""Puts the page together: the verdict, what broke, and every rule of every column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from tideline.contracts import Task
from tideline.data_docs.columns import describe_values
from tideline.rules import Finding

MOST_OPEN = 24  # columns; of a wider table only those with trouble are unfolded
STATES = {"error": "broken", "warning": "warning"}


def render_page(
    task: Task,
    frame: pd.DataFrame,
    findings: Sequence[Finding],
    provenance: Mapping[str, Any] | None,
    links: Sequence[tuple[str, str]] = (),
) -> str:
    """The whole page as HTML: the style inside, nothing loaded from anywhere.

    `provenance` is raw/manifest.json (None if there is none), `links` are names and addresses of further pages.
    """
    home = files("tideline")
    sheets = (home / "report" / "style.css", home / "data_docs" / "page.css")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((home / "data_docs" / "page.html.j2").read_text(encoding="utf-8"))
    broken = [finding for finding in findings if not finding.holds]
    errors = [finding for finding in broken if finding.check.severity == "error"]
    source = provenance or {}
    return template.render(
        style=Markup("".join(sheet.read_text(encoding="utf-8") for sheet in sheets)),
        task=task,
        n=len(frame),
        findings=findings,
        broken=broken,
        errors=errors,
        verdict="failed" if errors else "warned" if broken else "passed",
        simulated=bool(source.get("simulated")),
        groups=group_findings(task, frame, findings),
        state=describe_state,
        found=describe_found,
        facts=list_facts(task, source),
        links=links,
    )


def group_findings(task: Task, frame: pd.DataFrame, findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """First the table's findings, then those of each column, in the task's order; columns without a finding are out."""
    everything = (*task.columns, *task.extra, task.target)
    groups = []
    for column in (None, *everything):
        own = [finding for finding in findings if finding.check.column == (column.name if column else "")]
        if own:
            broken = [finding for finding in own if not finding.holds]
            worst = "error" if any(finding.check.severity == "error" for finding in broken) else "warning"
            groups.append(
                {
                    "name": column.name if column else "the whole table",
                    "note": column.description if column else "",
                    "holds": describe_values(column, frame[column.name]) if column else "",
                    "findings": own,
                    "broken": len(broken),
                    "state": STATES[worst] if broken else "holds",
                    "open": bool(broken) or len(everything) <= MOST_OPEN,
                }
            )
    return groups


def describe_state(finding: Finding) -> str:
    """holds, broken or warning."""
    return "holds" if finding.holds else STATES[finding.check.severity]


def describe_found(finding: Finding) -> str:
    """Of which rows the rule does not hold; of a rule on the table or a type, what was seen."""
    if finding.count:
        return f"{finding.count:,} of {finding.total:,} rows ({finding.share:.2%})"
    if finding.holds and not finding.examples:
        return "no row against it"
    return ""


def list_facts(task: Task, source: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where the rows come from."""
    place = f"{source.get('source', 'unknown')}{' (simulated)' if source.get('simulated') else ''}"
    facts = [("source", place), *((name, str(source[name])) for name in ("origin", "sha256") if source.get(name))]
    return [*facts, ("licence", task.source.licence or "–")]
