"""A flow from a terminal: `python -m pipelines.FLOW TASK`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from prefect import Flow, State

from pipelines.orphans import mark


def run_flow(flow: Flow[..., Any], text: str, flight: str = "graph", **options: dict[str, Any]) -> int:
    """Run a flow with the task (and options) that the command line names. Exit code 0 if it completed."""
    parser = argparse.ArgumentParser(prog=f"python -m pipelines.{flow.name}", description=text)
    parser.add_argument("task")
    for name, kind in options.items():
        parser.add_argument(f"--{name}", **kind)
    arguments = {key: value for key, value in vars(parser.parse_args()).items() if value is not None}
    # Without a server Prefect starts a temporary one; by the mark the next run ends it, should this one be killed.
    os.environ.update(mark(f"{flight}-{arguments['task']}"))
    run: Any = flow  # its type does not tell that the answer is a state then
    state: State[Any] = run(**arguments, return_state=True)
    if state.is_completed():
        return 0
    print(f"{flow.name}: {state.name}: {state.message}", file=sys.stderr)
    return 1
