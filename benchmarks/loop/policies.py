"""Who decides when a replay retrains: nobody, the calendar, or the monitor's alarms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Policy:
    """months: retrain at the start of every so many months, asked or not; 0: never. alarms: retrain when `tideline
    retrain` says that there is reason to. params: what differs in params.yaml, by section."""

    name: str
    title: str
    months: int = 0
    alarms: bool = False
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


# As good as its mean says is good enough: what a yardstick could reach, the gate's caution may not take away.
_BOLD = {
    "gate": {"confidence": 0.5, "slice_margin": 10.0},
    "retraining": {"labels": 1, "fresh_rows": 1, "confidence": 0.5},
}

POLICIES = (
    Policy("frozen", "frozen: never retrained"),
    Policy("ours", "alarms, guard, gate, history chosen", alarms=True),
    Policy("monthly", "yardstick: each month, best history, hardly a gate", months=1, params=_BOLD),
    Policy("schedule", "schedule only: each quarter, all history", months=3, params={
        "retraining": {"labels": 1, "history": {"windows": [], "half_lives": []}},
    }),
)  # fmt: skip
