"""What an audit found, in words."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tideline.lineage.audit import DIFFERS, SAME, TIMES, UNKNOWN, Audit


def describe_audit(audit: Audit) -> str:
    """A line an output, then what follows from them."""
    width = max((len(f.path) for f in audit.findings), default=0)
    lines = []
    for f in audit.findings:
        lines.append(f"  {f.path:{width}}  {f.outcome}")
        lines += [f"      {text}" for text in f.details]
    told = {outcome: sum(f.outcome == outcome for f in audit.findings) for outcome in (SAME, TIMES, DIFFERS, UNKNOWN)}
    first = audit.first
    if first is None:
        lines.append(
            f"{audit.task} {audit.version}: proved; {told[SAME]} outputs are the same to the last byte, {told[TIMES]} "
            "but for times and durations (src/tideline/lineage/ignored.py lists what is left out, and why)"
        )
    else:
        verb = "differs" if first.outcome == DIFFERS else "cannot be compared"
        lines.append(
            f"{audit.task} {audit.version}: NOT the same; stage {first.stage} is the first whose output {verb}: "
            f"{first.details[0]}"
        )
        if audit.announced:
            lines.append(f"  before looking elsewhere: {'; '.join(audit.announced)}")
    return "\n".join(lines)


def tell_audit(audit: Audit) -> dict[str, Any]:
    """The same, JSON-ready."""
    return {
        "task": audit.task,
        "version": audit.version,
        "proved": audit.first is None,
        "announced": list(audit.announced),
        "first": asdict(audit.first) if audit.first else None,
        "findings": [asdict(f) for f in audit.findings],
    }
