"""What the registry says, in words for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tideline.layout import Layout
from tideline.ledger import Entry
from tideline.pointer import Challenger
from tideline.registry import history, status
from tideline.succession import CANARY, ENDED, ROUTED, SHADOW, WITHDRAWN
from tideline.verdict import ALREADY, REFUSED, Verdict


def describe_verdict(verdict: Verdict) -> str:
    """What was done, and the figures or reasons behind it."""
    if verdict.action == ALREADY:
        return f"{verdict.version} is already champion; nothing to do"
    if verdict.action == REFUSED:
        return "\n".join([f"refused: bundle {verdict.digest[:12]}", *(f"  - {reason}" for reason in verdict.reasons)])
    outcomes = {
        CANARY: f"{verdict.version} answers {verdict.evidence.get('share', 0):.0%} of the requests",
        SHADOW: f"{verdict.version} predicts beside the champion",
        ENDED: f"{verdict.version} is no challenger any more",
        WITHDRAWN: f"{verdict.version} is no challenger any more",
        ROUTED: f"requests are shared by {verdict.evidence.get('router')}",
    }
    figures = _describe_evidence(verdict.evidence)
    outcome = outcomes.get(verdict.action, f"{verdict.version} is champion")
    return "\n".join([f"{verdict.action}: {outcome}", *([f"  {figures}"] if figures else [])])


def describe_status(layout: Layout) -> str:
    """Champion, challengers, the versions there are, and warnings."""
    state = status(layout)
    name = layout.task
    lines = [f"{name}: champion {state.champion} since {state.since}" if state.champion else f"{name}: no champion"]
    if state.previous:
        lines.append(f"  `tideline rollback {name}` goes back to {state.previous}")
    if state.router != "split":
        lines.append("  requests are shared by what labels tell (bandit)")
    roles = {state.champion: "champion"} | {c.version: _describe_role(c) for c in state.challengers}
    lines += [
        f"  {'*' if version == state.champion else ' '} {version}  {roles.get(version, '')}".rstrip()
        for version in state.versions
    ]
    return "\n".join([*lines, *(f"  warning: {text}" for text in state.warnings)])


def describe_history(layout: Layout) -> str:
    """The ledger, a line or more an entry, oldest first."""
    ledger = history(layout)
    lines = [line for entry in ledger.entries for line in _describe_entry(entry)]
    if ledger.damage:
        lines.append(f"warning: {ledger.damage}")
    return "\n".join(lines) or f"{layout.task}: nothing was ever promoted"


def describe_restored(layout: Layout, version: str, kept: Sequence[str], code: Sequence[str]) -> str:
    """What came back beside the model, what was kept of what was there, and what can not come back."""
    lines = [f"params.yaml, dvc.lock's stages of {layout.task} and their data are those of {version}"]
    lines += [f"  what was there before is in {name}" for name in kept]
    if any(name.startswith("params") for name in kept):
        lines.append("  params.yaml is one for all tasks: `dvc status` says what that means for the others")
    if code:
        lines.append(f"  not as it was then: {', '.join(code)}; `dvc repro` would make the model anew with that code")
    return "\n".join(lines)


def _describe_role(challenger: Challenger) -> str:
    return f"canary, {challenger.share:.0%} of the requests" if challenger.role == "canary" else "shadow"


def _describe_entry(entry: Entry) -> list[str]:
    subject = entry.version or f"bundle {entry.digest[:12]}".strip()
    figures = _describe_evidence(entry.evidence)
    head = f"{entry.seq:>4}  {entry.time}  {entry.action:<11}  {subject}"
    return [f"{head}  {figures}".rstrip(), *(f"      - {reason}" for reason in entry.reasons)]


def _describe_evidence(evidence: Mapping[str, Any]) -> str:
    parts = []
    if "from" in evidence:
        parts.append(f"from {evidence['from']}")
    if evidence.get("share"):
        parts.append(f"share {evidence['share']:.0%}")
    if "router" in evidence:
        parts.append(str(evidence["router"]))
    if "challenger" in evidence:
        rivals = [f"{name} {evidence[name]:,.6g}" for name in ("champion", "naive") if name in evidence]
        parts.append(f"{evidence['model']}: {evidence['metric']} {evidence['challenger']:,.6g} ({', '.join(rivals)})")
    if evidence.get("ended"):
        parts.append(f"ends the trial of {', '.join(evidence['ended'])}")
    return "; ".join(parts)
