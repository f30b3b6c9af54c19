"""What came of telling: which alerts are new, which were delivered, which wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tideline.alert import Alert


@dataclass(frozen=True)
class Delivery:
    """One alert by one channel. error: why it was not taken; empty if it was."""

    channel: str
    alert: Alert
    error: str = ""


@dataclass(frozen=True)
class Sent:
    """raised: alerts that are new; what was told already is not among them. delivered, failed: deliveries that were
    tried, those of earlier runs first. waiting: how many alerts are still to be delivered, by channel: those that
    failed, what another process is at, and what waits for a channel that no rule names any more."""

    raised: tuple[Alert, ...] = ()
    delivered: tuple[Delivery, ...] = ()
    failed: tuple[Delivery, ...] = ()
    waiting: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """What is new and what failed, JSON-ready: for a program that called this one."""
        raised = [
            {"task": a.task, "status": a.status, "title": a.title, "subjects": list(a.subjects)} for a in self.raised
        ]
        failed = [{"channel": d.channel, "title": d.alert.title, "error": d.error} for d in self.failed]
        return {"raised": raised, "failed": failed}

    def describe(self) -> str:
        """One line each."""
        lines = [f"told by {d.channel}: {d.alert.title}" for d in self.delivered]
        lines += [f"NOT told by {d.channel}, kept for the next run: {d.alert.title}\n  {d.error}" for d in self.failed]
        lines += [f"{count:,} wait for the channel {name}" for name, count in sorted(self.waiting.items())]
        return "\n".join(lines) or "nobody had to be told anything new"
