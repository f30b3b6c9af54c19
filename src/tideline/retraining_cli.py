"""`tideline collect TASK` and `tideline retrain TASK`.

Exit codes of retrain: 0 promoted, canary, or a dry run that would act; 3 nothing to do now; 4 the gate refused;
5 quarantined; 6 another process retrains this task; 7 whatever came of it, an alert was not delivered; 8 it was begun
and failed, a later run tries again; 1 error before that.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tideline.layout import Layout
from tideline.progress import say

if TYPE_CHECKING:
    from tideline.alerts import Alert, Sent
    from tideline.retraining.run import Outcome

EXIT = {"wait": 3, "refused": 4, "quarantined": 5, "failed": 8}
IN_FLIGHT, UNTOLD = 6, 7


def add_retraining_verbs(verbs: Any) -> None:
    """Add `collect` and `retrain` to the parser's verbs."""
    command = verbs.add_parser(
        "collect", help="write the labelled rows of the prediction log as a snapshot, with the history to learn from",
        epilog="exit code: 0 written or unchanged, 3 no labelled rows, 5 quarantined, 6 in flight, "
        "7 an alert was not delivered, 1 error",
    )  # fmt: skip
    command.add_argument("task")
    command.set_defaults(run=_collect)
    command = verbs.add_parser(
        "retrain", help="train again on what the log has learnt, if there is reason to",
        epilog="exit code: 0 promoted, canary or (dry run) would act, 3 nothing to do, 4 refused by the gate, "
        "5 quarantined, 6 in flight, 7 an alert was not delivered, 8 failed, 1 error",
    )  # fmt: skip
    command.add_argument("task")
    command.add_argument("--reason", help="by hand, and why: no alarm is needed")
    command.add_argument("--dry-run", action="store_true", help="say what would be done, write nothing")
    command.add_argument("--canary", action="store_true", help="offer the result as a canary instead of as champion")
    command.add_argument("--json", action="store_true", help="the outcome as JSON; what else is said goes to stderr")
    command.set_defaults(run=_retrain)


def _retrain(arguments: argparse.Namespace) -> int:
    from tideline.alerts import Sent, deliver_alerts
    from tideline.catalog import get_task
    from tideline.params import load_params
    from tideline.predlog_cli import open_existing
    from tideline.retraining.announce import tell_end
    from tideline.retraining.flight import InFlightError
    from tideline.retraining.run import Request, retrain

    task, params = get_task(arguments.task), load_params()
    share = params.rollout.share if arguments.canary else params.retraining.canary
    layout, request = Layout(task.name), Request(arguments.reason, arguments.dry_run, share)
    raised: list[Alert] = []
    sent = Sent()
    with _saying(arguments.json), open_existing() as store:
        try:
            if not request.dry_run:
                raised += _tell(tell_end(params, store, layout)).raised  # of an earlier one, if it did not come to that
            outcome = retrain(task, params, layout, store, request)
        except InFlightError as error:
            print(f"tideline retrain: {error}", file=sys.stderr, flush=True)
            return IN_FLIGHT
        if not request.dry_run:
            with suppress(InFlightError):  # the other process tells it
                sent = _tell(tell_end(params, store, layout) or deliver_alerts(params, store))
    sent = replace(sent, raised=(*raised, *sent.raised))
    say(json.dumps({**outcome.to_dict(), "alerts": sent.to_dict()}) if arguments.json else _describe(outcome))
    return UNTOLD if sent.failed else EXIT.get(outcome.name, 0)


def _tell(sent: Sent | None) -> Sent:
    from tideline.alerts import Sent

    if sent is None:
        return Sent()
    if sent != Sent():
        say(sent.describe())
    return sent


def _collect(arguments: argparse.Namespace) -> int:
    from tideline.catalog import get_task
    from tideline.params import load_params
    from tideline.predlog_cli import open_existing
    from tideline.retraining.announce import tell_end
    from tideline.retraining.collecting import collect_by_hand
    from tideline.retraining.flight import InFlightError

    task, params = get_task(arguments.task), load_params()
    layout = Layout(task.name)
    with open_existing() as store:
        try:
            _tell(tell_end(params, store, layout))  # of a retraining, if it did not come to that
            outcome = collect_by_hand(task, params, layout, store, time.time_ns() // 1000)
            sent = _tell(tell_end(params, store, layout))
        except InFlightError as error:
            print(f"tideline collect: {error}", file=sys.stderr, flush=True)
            return IN_FLIGHT
    return UNTOLD if sent.failed else EXIT.get(outcome, 0)


@contextmanager
def _saying(as_json: bool) -> Iterator[None]:
    if not as_json:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


def _describe(outcome: Outcome) -> str:
    title = f"{outcome.facts.task}: {outcome.name}"
    if outcome.verdict and outcome.verdict["version"]:
        title += f" {outcome.verdict['version']}"
    return "\n".join([title, *(f"  - {reason}" for reason in outcome.reasons or outcome.decision.reasons)])
