"""Flow `retraining`: asks `tideline retrain` whether the task needs a new champion, and lets it make one.

Run as `python -m pipelines.retraining TASK [--reason TEXT]`; a reason is a person's, and needs no alarm.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from pipelines.artefacts import artefact_key
from pipelines.command import run_flow
from pipelines.dvc_state import mend
from pipelines.flight import fly
from pipelines.guarded_run import run_guarded
from pipelines.verdicts import emit_alerts
from tideline.contracts import TidelineError
from tideline.params import load_params
from tideline.retraining_cli import EXIT, IN_FLIGHT, UNTOLD

# What `tideline retrain` says by its exit code; another one is a failure.
OUTCOMES = {0: "acted", 3: "nothing to do", 4: "refused by the gate", 5: "quarantined", EXIT["failed"]: "failed",
            IN_FLIGHT: "already running elsewhere", UNTOLD: "alert not delivered"}  # fmt: skip


@task(name="retrain", task_run_name="retrain-{name}", cache_policy=NO_CACHE, persist_result=False)
def retrain_task(name: str, timeout: float, reason: str | None) -> tuple[str, str, tuple[str, ...]]:
    """`tideline retrain NAME --json`; its lines go to Prefect's log, its alerts become events.

    Returns its outcome, its last line, and why it failed, if it did. That is no failure of this task: it would be tried
    again within seconds, which is for the journal to decide.
    """
    log, lines = get_run_logger(), list[str]()

    def say(line: str) -> None:
        lines.append(line)
        log.info(line)

    command = ["tideline.cli", "retrain", name, "--json", *([] if reason is None else [f"--reason={reason}"])]
    code = run_guarded(f"graph-{name}", command, say, timeout, fine=OUTCOMES)
    said = lines[-1] if lines else ""
    if code == IN_FLIGHT:
        return OUTCOMES[code], said, ()
    told = json.loads(said)
    emit_alerts(told["alerts"]["raised"])
    for failure in told["alerts"]["failed"]:
        log.warning("NOT told by %s: %s (%s)", failure["channel"], failure["title"], failure["error"])
    outcome = OUTCOMES[code]
    failed = tuple(told["reasons"]) if told["name"] == "failed" else ()
    return f"{told['name']}, {outcome}" if code == UNTOLD else outcome, said, failed


@flow(name="retraining", flow_run_name="retraining-{task}", persist_result=False)
def retraining(task: str, reason: str | None = None) -> Any:
    """Retrain `task` if `tideline retrain` finds a reason, or a person gives one. It builds with the same graph, so it
    never runs beside `training`. Raises TidelineError."""
    return fly("retraining", task, f"graph-{task}", partial(retrain, task, reason))


def retrain(name: str, reason: str | None = None) -> str:
    """The work itself. Returns the outcome; raises TidelineError if it failed."""
    settings = load_params().flows
    for mended in mend():
        get_run_logger().warning(mended)
    run = retrain_task.with_options(retries=settings.retries, retry_delay_seconds=settings.retry_delay)
    outcome, said, failed = run(name, settings.run_timeout, reason)
    text, title = f"{outcome}\n\n```\n{said}\n```", f"Retraining of {name}: {outcome}"
    create_markdown_artifact(text, key=artefact_key("retraining", name), description=title)
    get_run_logger().info("retraining of %s: %s", name, outcome)
    if failed:
        raise TidelineError(f"the retraining of {name} failed: {'; '.join(failed)}; a later run tries again")
    return outcome


def main() -> int:
    """Run the flow once."""
    return run_flow(retraining, __doc__ or "", reason={"help": "by hand, and why: no alarm is needed"})


if __name__ == "__main__":
    sys.exit(main())
