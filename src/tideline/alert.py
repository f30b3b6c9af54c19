"""What an alert says, and what a channel is: shared by whoever raises one and whatever carries it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from tideline.contracts import TidelineError

AlertStatus = Literal["watch", "alarm", "undecided", "recovered"]
AlertConcern = Literal["quality", "drift", "error", "retraining"]
SHOWN_LINES = 20


@dataclass(frozen=True)
class Alert:
    """One thing that somebody should know.

    source: who raises it, e.g. monitor or retraining; an alarm of a source ends with its `recovered`. subjects: what it
    is about, e.g. columns. lines: what is known, for a person; facts: the same for a program, JSON-ready. raised: µs
    since 1970-01-01 UTC. name: the same for each attempt to deliver it, so that a receiver can tell a repetition.
    """

    task: str
    version: str
    source: str
    status: AlertStatus
    concerns: tuple[AlertConcern, ...]
    subjects: tuple[str, ...]
    title: str
    lines: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    raised: int = 0
    name: str = ""

    @property
    def at(self) -> str:
        """`raised` as text, UTC."""
        return datetime.fromtimestamp(self.raised / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def shown_lines(self) -> tuple[str, ...]:
        """`lines`, as many as a chat takes."""
        more = len(self.lines) - SHOWN_LINES
        return self.lines if more <= 0 else (*self.lines[:SHOWN_LINES], f"and {more} more")

    def to_json(self) -> str:
        """As it is kept in the store."""
        return msgspec.json.encode(self).decode()


def read_alert(text: str | bytes) -> Alert:
    """What `to_json` wrote. Raises TidelineError."""
    try:
        return msgspec.json.decode(text, type=Alert)
    except msgspec.MsgspecError as error:
        raise TidelineError(
            f"a stored alert cannot be read ({error}); another tideline wrote it: use that one"
        ) from None


class DeliveryFailed(TidelineError):
    """A channel did not take an alert. `passing`: it may, if it is tried again."""

    def __init__(self, message: str, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True)
class ChannelSpec:
    """One way to tell somebody.

    `send(alert, address, timeout)` returns once the alert was taken, and raises DeliveryFailed, within about `timeout`
    seconds. variable: of the environment, which holds the address; None: the channel needs none.
    """

    name: str
    send: Callable[[Alert, str, float], None]
    variable: str | None = None
    description: str = ""
