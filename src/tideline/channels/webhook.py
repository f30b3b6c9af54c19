"""The whole alert as JSON, to any address that takes a POST."""

from __future__ import annotations

import msgspec

from tideline.alert import Alert, ChannelSpec
from tideline.webhook import post_json

VARIABLE = "TIDELINE_ALERT_WEBHOOK"


def send(alert: Alert, address: str, timeout: float) -> None:
    """POST every field of the alert, and `at`: its time as text."""
    post_json(address, {**msgspec.to_builtins(alert), "at": alert.at}, timeout, VARIABLE)


SPEC = ChannelSpec(name="webhook", send=send, variable=VARIABLE, description="JSON to an address")
