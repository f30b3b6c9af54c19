"""Verdicts to tell of, and rules to tell them by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.predlog.samples import START
from tideline.monitor.records import Check, Errors, WindowVerdict
from tideline.params import AlertRule, Params, load_params

PARAMS = load_params(Path(__file__).resolve().parents[2] / "params.yaml")
SECOND, HOUR = 1_000_000, 3_600_000_000
CONCERNS = ("quality", "drift", "error", "retraining")


def make_check(subject: str, alarm: bool = True, concern: Any = "quality") -> Check:
    return Check("column", subject, "psi", concern, 0.5, 0.0, 0.5, 0.2, 0.0, True, 1, alarm, "<b> & so on")


def make_verdict(*checks: Check, hour: float = 0, status: Any = "", version: str = "v0001-aaaa") -> WindowVerdict:
    """A verdict on 500 rows that ended so many hours after START."""
    found = "alarm" if any(c.alarm for c in checks) else "watch" if checks else "quiet"
    last = START + round(hour * HOUR)
    return WindowVerdict(
        "rent", version, last, 500, last - 500 * SECOND, last, status or found, checks, Errors(), 0.01, 3, ("psi",)
    )  # fmt: skip


def make_params(*channels: str, **changes: Any) -> Params:
    """One rule; quick and impatient."""
    rule = AlertRule(("alarm",), CONCERNS, (), 24.0, channels)  # type: ignore[arg-type]
    rule = replace(rule, **{k: v for k, v in changes.items() if hasattr(rule, k)})
    given = {k: v for k, v in changes.items() if not hasattr(rule, k)}
    settings = {"attempts": 3, "wait_seconds": 0.01, "timeout_seconds": 0.3, "rules": {"all": rule}} | given
    return replace(PARAMS, alerts=replace(PARAMS.alerts, **settings))
