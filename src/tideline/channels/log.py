"""One line to standard error, where whatever runs the monitor keeps its log."""

from __future__ import annotations

import sys

from tideline.alert import Alert, ChannelSpec


def send(alert: Alert, address: str, timeout: float) -> None:
    """Print title and lines; there is no address, and nothing to wait for."""
    print("; ".join((f"ALERT {alert.at} {alert.title}", *alert.shown_lines)), file=sys.stderr, flush=True)


SPEC = ChannelSpec(name="log", send=send, description="a line on standard error")
