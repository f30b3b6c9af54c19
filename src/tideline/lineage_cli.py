"""The verbs of lineage: why, at, audit. Exit code of an audit: 0 proved, 3 not the same, 1 error."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from typing import Any

from tideline import catalog
from tideline.layout import Layout
from tideline.progress import say

NOT_THE_SAME = 3


def add_lineage_verbs(verbs: Any) -> None:
    """Add them to the parser's verbs."""
    command = verbs.add_parser("why", help="tell what a version was made from, why it serves and what became of it")
    command.add_argument("task")
    command.add_argument("version", help="its name, or the part before the dash")
    command.add_argument("--json", action="store_true", help="the same for programs")
    command.set_defaults(run=_why)
    command = verbs.add_parser("at", help="tell who served at a moment")
    command.add_argument("task")
    command.add_argument("time", help="2025-01-31, 2025-01-31T12:00 (UTC), '2 days ago', now")
    command.add_argument("--json", action="store_true", help="the same for programs")
    command.set_defaults(run=_at)
    command = verbs.add_parser(
        "audit", help="make a version again from its data and parameters, and compare every output",
        epilog="exit code: 0 proved to be the same, 3 not the same, 1 error",
    )  # fmt: skip
    command.add_argument("task")
    command.add_argument("version", help="its name, or the part before the dash")
    command.add_argument("--json", action="store_true", help="the result for programs, on the last lines")
    command.set_defaults(run=_audit)


def _why(arguments: argparse.Namespace) -> None:
    from tideline.lineage.story import tell_story
    from tideline.lineage.story_text import describe_story

    story = tell_story(_find_layout(arguments), arguments.version)
    say(_to_json(story) if arguments.json else describe_story(story))


def _at(arguments: argparse.Namespace) -> None:
    from tideline.bookkeeping import ledger_file
    from tideline.ledger import read_ledger
    from tideline.lineage.moment_text import describe_moment, tell_moment
    from tideline.lineage.moments import find_moment, parse_moment

    layout, now = _find_layout(arguments), datetime.now(UTC)
    ledger = read_ledger(ledger_file(layout))
    moment = find_moment(ledger.entries, parse_moment(arguments.time, now))
    if arguments.json:
        say(_to_json(tell_moment(layout.task, moment)))
        return
    say(describe_moment(layout.task, moment, now))
    if ledger.damage:
        say(f"  warning: {ledger.damage}")


def _audit(arguments: argparse.Namespace) -> int:
    from tideline.lineage.audit import audit
    from tideline.lineage.audit_text import describe_audit, tell_audit

    found = audit(_find_layout(arguments), arguments.version, lambda text: say(f"not as it was: {text}"))
    say(_to_json(tell_audit(found)) if arguments.json else describe_audit(found))
    return 0 if found.first is None else NOT_THE_SAME


def _find_layout(arguments: argparse.Namespace) -> Layout:
    return Layout(catalog.get_task(arguments.task).name)


def _to_json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)
