"""`tideline monitor TASK`: judge a window of the log. Exit code 0: quiet or watch, 3: alarm, 4: undecided, 5: an alert
was not delivered."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.progress import Bar, say

EXIT = {"quiet": 0, "watch": 0, "alarm": 3, "undecided": 4}
UNTOLD = 5


def add_monitor_verb(verbs: Any) -> None:
    """Add `monitor` to the parser's verbs."""
    command = verbs.add_parser(
        "monitor", help="hold a window of the prediction log against the champion's reference",
        epilog="exit code: 0 quiet or watch, 3 alarm, 4 too few rows to judge, 5 an alert was not delivered, 1 error",
    )  # fmt: skip
    command.add_argument("task")
    command.add_argument("--since", help="first day or time, e.g. 2025-01-31 or 2025-01-31T12:00 (UTC)")
    command.add_argument("--until", help="the first day or time that is left out")
    command.add_argument("--rows", type=int, help="the last ones (params.yaml: monitoring.rows)")
    command.add_argument("--json", action="store_true", help="the whole verdict as JSON")
    command.add_argument("--history", action="store_true", help="list stored verdicts, and judge nothing")
    command.add_argument("--alert", action="store_true", help="tell what it calls for (params.yaml: alerts)")
    command.add_argument("--report", action="store_true", help="draw the window with Evidently (reports/TASK/drift/)")
    command.set_defaults(run=_monitor)


def _monitor(arguments: argparse.Namespace) -> int:
    from tideline.catalog import get_task
    from tideline.monitor import Span, list_history, monitor
    from tideline.monitor.show import describe_history, describe_window
    from tideline.params import load_params
    from tideline.predlog.export import parse_time
    from tideline.predlog_cli import open_existing

    layout = Layout(get_task(arguments.task).name)
    since, until = (None if text is None else parse_time(text) for text in (arguments.since, arguments.until))
    if since is not None and until is not None and since >= until:
        raise TidelineError(f"--since {arguments.since} is not before --until {arguments.until}")
    if arguments.rows is not None and arguments.rows < 1:
        raise TidelineError(f"--rows {arguments.rows}: a window has at least one row")
    with open_existing() as store:
        if arguments.history:
            say(describe_history(list_history(store, layout.task)))
            return 0
        params = load_params()
        with Bar(0, "rows") as bar:
            verdict = monitor(params, layout, store, Span(since, until, arguments.rows), progress=bar.update)
        say(verdict.to_json() if arguments.json else describe_window(verdict))
        told = True
        if arguments.alert:
            from tideline.alerts import send_alerts

            sent = send_alerts(params, store, verdict)
            print(sent.describe(), file=sys.stderr, flush=True)
            told = not sent.failed
        if arguments.report:
            from tideline.drift_report import draw_report

            drawn = draw_report(params, layout, store, verdict)
            print(f"{drawn.page}: {drawn.sample}", file=sys.stderr, flush=True)
    return EXIT[verdict.status] if told else UNTOLD
