"""A message in the shape of Slack's incoming webhooks, which Mattermost and others take as well."""

from __future__ import annotations

from tideline.alert import Alert, ChannelSpec
from tideline.webhook import post_json

VARIABLE = "TIDELINE_ALERT_SLACK"
_MARKS = {
    "alarm": ":rotating_light:",
    "watch": ":eyes:",
    "undecided": ":grey_question:",
    "recovered": ":white_check_mark:",
}


def send(alert: Alert, address: str, timeout: float) -> None:
    """POST the title in bold, and a bullet for each line."""
    lines = [f"{_MARKS[alert.status]} *{_escape(alert.title)}*", *(f"• {_escape(line)}" for line in alert.shown_lines)]
    post_json(address, {"text": "\n".join(lines)}, timeout, VARIABLE)


def _escape(text: str) -> str:
    """Names of categories come from requests: none of them may mention a channel or make a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


SPEC = ChannelSpec(name="slack", send=send, variable=VARIABLE, description="a message to a chat")
