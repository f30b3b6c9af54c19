"""A retraining from end to end: guard, window, history, snapshot, graph, gate. One function a step, one journal.

Killed anywhere, nothing is half done: the snapshot changes as a whole, the graph goes on where it stopped, the registry
has one champion at any time, and the journal's beginning without an end tells the next run to finish.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tideline.contracts import Task, TidelineError
from tideline.labelled import TIME, Snapshot
from tideline.layout import Layout
from tideline.monitor import list_alarms
from tideline.params import Params
from tideline.predlog import Store
from tideline.progress import Bar, Log, stage
from tideline.retraining.collect import Collected
from tideline.retraining.facts import Scene, add_rows, gather_facts, look_around
from tideline.retraining.flight import single_flight
from tideline.retraining.guard import Decision, Facts, decide
from tideline.retraining.history import Choice
from tideline.retraining.journal import BEGIN, END, WAIT, Event, Line, append_line, read_lines
from tideline.retraining.quality import inspect_window
from tideline.retraining.quarantine import list_released, set_aside
from tideline.retraining.snapshot import choose, collect, pool, read_raw, save
from tideline.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd

FAILED = "failed"


@dataclass(frozen=True)
class Request:
    """What is asked for. reason: a person's, or None if a schedule or an alarm asks. dry_run: write nothing."""

    reason: str | None = None
    dry_run: bool = False
    canary: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of it. name: "wait", "would act" (a dry run), "quarantined", "refused", "promoted", "canary", or
    "already champion"."""

    name: str
    decision: Decision
    facts: Facts
    reasons: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    history: Mapping[str, Any] | None = None
    verdict: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def run_graph(task: Task, layout: Layout) -> None:
    """`dvc repro` up to the task's bundle, what it says on stderr. Raises TidelineError if a stage fails."""
    command = [sys.executable, "-m", "dvc", "repro", f"bundle@{task.name}"]
    done = subprocess.run(command, cwd=layout.root, stdout=sys.stderr)
    if done.returncode:
        raise TidelineError(
            f"`dvc repro bundle@{task.name}` ended with exit code {done.returncode} (see above); the champion stays"
        )


def retrain(
    task: Task,
    params: Params,
    layout: Layout,
    store: Store,
    request: Request,
    now: int | None = None,
    graph: Callable[[Task, Layout], None] = run_graph,
) -> Outcome:
    """Decide, and if so retrain and offer the result to the gate. Every decision is in the journal with its reasons.

    now: µs since 1970-01-01 UTC. graph: builds models/<task>/bundle. Raises InFlightError if another process retrains
    the task, or TidelineError; a failed graph is recorded before it is raised.
    """
    now = time.time_ns() // 1000 if now is None else now
    with stage("retrain", task.name) as log, single_flight(layout):
        scene = look_around(layout, store)
        lines = read_lines(layout.decisions)
        facts = gather_facts(layout, scene, lines, now, request.reason)
        decision = decide(facts, params.retraining)
        if not decision.trigger:  # nothing calls for it: the log need not be read
            return _wait(layout, request, facts, decision, {}, log)
        with Bar(0, "rows of the log") as bar:
            found = collect(task, layout, store, now, bar.update)
        raw = read_raw(task, params, layout)
        parted = pool(task, params, raw, found.rows)
        facts = add_rows(facts, scene, found.rows, parted.counts, lines)
        decision = decide(facts, params.retraining)
        log.say(f"{len(found.rows):,} labelled rows, {facts.labels:,} of use are newer than the champion's")
        if not decision.act:
            return _wait(layout, request, facts, decision, found.counts, log)
        for reason in decision.reasons:
            log.say(reason)
        if not request.dry_run:
            _note(layout, BEGIN, facts, decision)
        if faults := _inspect(task, layout, store, found, raw):
            if not request.dry_run:
                _quarantine(layout, found, faults, scene, log)
                _note(layout, END, facts, decision, "quarantined", tuple(faults))
            return Outcome("quarantined", decision, facts, tuple(faults), found.counts)
        with Bar(0, "histories: fits") as bar:
            choice = choose(task, params, parted, lambda: bar.update(1))
        log.say(choice.reason)
        if request.dry_run:
            return Outcome("would act", decision, facts, (), found.counts, choice.to_dict())
        snapshot = save(task, layout, store, found, choice)
        try:
            graph(task, layout)
        except TidelineError as error:
            _note(layout, END, facts, decision, FAILED, (str(error),))
            raise
        verdict = _offer(task, params, layout, request, _describe(facts, decision, snapshot, choice))
        _note(layout, END, facts, decision, verdict.action, verdict.reasons)
        log.say(f"{verdict.action}{f': {verdict.version}' if verdict.version else ''}")
        told = {"action": verdict.action, "version": verdict.version, "evidence": dict(verdict.evidence)}
        return Outcome(verdict.action, decision, facts, verdict.reasons, found.counts, choice.to_dict(), told)


def _wait(
    layout: Layout, request: Request, facts: Facts, decision: Decision, counts: Mapping[str, int], log: Log
) -> Outcome:
    for reason in decision.reasons:
        log.say(reason)
    if not request.dry_run:
        _note(layout, WAIT, facts, decision)
    return Outcome("wait", decision, facts, decision.reasons, counts)


def collect_by_hand(task: Task, params: Params, layout: Layout, store: Store, now: int) -> str:
    """The snapshot alone, without guard, graph and gate: "wait" (no labelled rows), "quarantined" or "collected".

    Raises InFlightError, TidelineError.
    """
    with stage("collect", task.name) as log, single_flight(layout):
        scene = look_around(layout, store)
        with Bar(0, "rows of the log") as bar:
            found = collect(task, layout, store, now, bar.update)
        log.say(", ".join(f"{name.replace('_', ' ')}: {count:,}" for name, count in found.counts.items()))
        if not len(found.rows):
            log.say("the log has no labelled rows yet")
            return "wait"
        raw = read_raw(task, params, layout)
        if faults := _inspect(task, layout, store, found, raw):
            _quarantine(layout, found, faults, scene, log)
            return "quarantined"
        choice = choose(task, params, pool(task, params, raw, found.rows))
        snapshot = save(task, layout, store, found, choice)
        log.say(f"{len(snapshot.frame):,} rows in {layout.labelled}; {choice.reason}")
        return "collected"


def _inspect(task: Task, layout: Layout, store: Store, found: Collected, raw: pd.DataFrame) -> list[str]:
    if not len(found.window):
        return []
    times = found.window[TIME]
    verdicts = list_alarms(store, task.name, int(times.min()), int(times.max()))
    with tempfile.TemporaryDirectory() as pages:
        return inspect_window(task, found.window, raw, verdicts, Path(pages), list_released(layout))


def _quarantine(layout: Layout, found: Collected, faults: list[str], scene: Scene, log: Log) -> None:
    digest = "" if scene.champion is None else scene.champion.digest
    name = set_aside(layout, found.window, faults, scene.version, digest)
    log.say(f"{len(found.window):,} new rows may not be learnt from, and are in {layout.quarantine / name}:")
    for fault in faults:
        log.say(f"  {fault}")


def _offer(task: Task, params: Params, layout: Layout, request: Request, told: dict[str, Any]) -> Verdict:
    if request.canary:
        from tideline.rollout import challenge

        return challenge(task, params, layout, "canary", params.rollout.share, told=told)
    from tideline.registry import promote

    return promote(task, params, layout, told)


def _describe(facts: Facts, decision: Decision, snapshot: Snapshot, choice: Choice) -> dict[str, Any]:
    return {
        "retraining": {
            "key": facts.key,
            "trigger": decision.trigger,
            "reasons": list(decision.reasons),
            "labelled": {"rows": snapshot.manifest["rows"], "sha256": snapshot.sha256},
            "history": {**choice.history.to_dict(), "reason": choice.reason},
        }
    }


def _note(
    layout: Layout,
    event: Event,
    facts: Facts,
    decision: Decision,
    outcome: str = "",
    reasons: tuple[str, ...] | None = None,
) -> None:
    told = decision.reasons if reasons is None else reasons
    append_line(layout.decisions, Line(facts.now, event, facts.key, decision.trigger, told, outcome, asdict(facts)))
