"""What the registry says, in words for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tideline.contracts import Task
from tideline.layout import Layout
from tideline.ledger import Entry
from tideline.registry import ALREADY, REFUSED, Verdict, history, status


def describe_verdict(verdict: Verdict) -> str:
    """What was done, and the figures or reasons behind it."""
    if verdict.action == ALREADY:
        return f"{verdict.version} is already champion; nothing to do"
    if verdict.action == REFUSED:
        return "\n".join([f"refused: bundle {verdict.digest[:12]}", *(f"  - {reason}" for reason in verdict.reasons)])
    figures = _describe_evidence(verdict.evidence)
    return "\n".join([f"{verdict.action}: {verdict.version} is champion", *([f"  {figures}"] if figures else [])])


def describe_status(task: Task, layout: Layout) -> str:
    """Champion, the versions there are, and warnings."""
    state = status(task, layout)
    lines = [
        f"{task.name}: champion {state.champion} since {state.since}" if state.champion else f"{task.name}: no champion"
    ]
    if state.previous:
        lines.append(f"  `tideline rollback {task.name}` goes back to {state.previous}")
    lines += [f"  {'*' if name == state.champion else ' '} {name}" for name in state.versions]
    return "\n".join([*lines, *(f"  warning: {text}" for text in state.warnings)])


def describe_history(task: Task, layout: Layout) -> str:
    """The ledger, a line or more an entry, oldest first."""
    ledger = history(task, layout)
    lines = [line for entry in ledger.entries for line in _describe_entry(entry)]
    if ledger.damage:
        lines.append(f"warning: {ledger.damage}")
    return "\n".join(lines) or f"{task.name}: nothing was ever promoted"


def _describe_entry(entry: Entry) -> list[str]:
    subject = entry.version or f"bundle {entry.digest[:12]}".strip()
    figures = _describe_evidence(entry.evidence)
    head = f"{entry.seq:>4}  {entry.time}  {entry.action:<11}  {subject}"
    return [f"{head}  {figures}".rstrip(), *(f"      - {reason}" for reason in entry.reasons)]


def _describe_evidence(evidence: Mapping[str, Any]) -> str:
    if "from" in evidence:
        return f"from {evidence['from']}"
    if "challenger" not in evidence:
        return ""
    rivals = [f"{name} {evidence[name]:,.6g}" for name in ("champion", "naive") if name in evidence]
    return f"{evidence['model']}: {evidence['metric']} {evidence['challenger']:,.6g} ({', '.join(rivals)})"
