"""A retraining from end to end: guard, window, history, snapshot, graph, gate. One function a step, one journal.

Killed anywhere, nothing is half done: the snapshot changes as a whole, the graph goes on where it stopped, the registry
has one champion at any time, and the journal's beginning without an end tells the next run to finish.
"""

from __future__ import annotations

import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tideline.contracts import Task, TidelineError
from tideline.labelled import Snapshot
from tideline.layout import Layout
from tideline.params import Params
from tideline.predlog import Store, StoreUnavailable
from tideline.progress import Bar, Log, stage
from tideline.retraining.collect import Collected
from tideline.retraining.collecting import inspect_found, put_aside
from tideline.retraining.facts import Scene, add_rows, gather_facts, look_around
from tideline.retraining.flight import build_flight, single_flight
from tideline.retraining.guard import UNFINISHED, Decision, Facts, decide, decide_early
from tideline.retraining.history import Choice
from tideline.retraining.journal import (
    BEGIN,
    END,
    FAILED,
    QUARANTINED,
    WAIT,
    Event,
    Line,
    append_line,
    read_lines,
)
from tideline.retraining.snapshot import choose, collect, pool, read_raw, save
from tideline.retraining.unfinished import find_end, find_share
from tideline.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd

    from tideline.split_labelled import Pool


@dataclass(frozen=True)
class Request:
    """What is asked for. reason: a person's, or None if a schedule or an alarm asks. dry_run: write nothing.
    canary: the share of the requests that the result gets as a canary; 0: it is offered as champion."""

    reason: str | None = None
    dry_run: bool = False
    canary: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What came of it. name: "wait", "would act" (a dry run), "quarantined", "refused", "promoted", "canary",
    "already champion" or "failed"."""

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


@dataclass(frozen=True)
class Case:
    """One retraining: what was asked, what is known, what was decided. start: by the monotonic clock."""

    task: Task
    params: Params
    layout: Layout
    store: Store
    request: Request
    scene: Scene
    facts: Facts
    decision: Decision
    log: Log
    start: float


def run_graph(task: Task, layout: Layout) -> None:
    """`dvc repro` up to the task's bundle, what it says on stderr; it waits for another DVC of the project.

    Raises TidelineError if a stage fails.
    """
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", f"bundle@{task.name}"]
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
    the task or is at work on its graph, or TidelineError; what goes wrong once it was begun is an outcome, "failed".
    """
    now, start = time.time_ns() // 1000 if now is None else now, time.monotonic()
    flight = single_flight if request.dry_run else build_flight
    with stage("retrain", task.name) as log, flight(layout):
        scene = look_around(layout, store, now)
        lines = read_lines(layout.decisions)
        late = None if request.dry_run else find_end(layout, lines, now)
        if late is not None:
            lines.append(late)
            append_line(layout.decisions, late)
        facts = gather_facts(layout, scene, lines, now, request.reason, request.canary)
        decision = decide_early(facts, params.retraining)
        if decision.trigger == UNFINISHED:  # as it was begun
            request = replace(request, canary=find_share(lines))
            facts = replace(facts, share=request.canary)
        case = Case(task, params, layout, store, request, scene, facts, decision, log, start)
        if late is not None:
            log.say(f"an earlier one has ended: {'; '.join((late.outcome, *late.reasons))}")
            if late.outcome == FAILED and request.reason is None:
                return Outcome(FAILED, decision, facts, late.reasons)
        if not decision.act:  # the log need not be read
            return _wait(case, {})
        with Bar(0, "rows of the log") as bar:
            found = collect(task, layout, store, now, bar.update)
        raw = read_raw(task, params, layout)
        parted = pool(task, params, raw, found.rows)
        facts = add_rows(facts, scene, found.rows, parted.counts, lines, found.counts["corrected"])
        decision = decide(facts, params.retraining)
        case = replace(case, facts=facts, decision=decision)
        log.say(f"{len(found.rows):,} labelled rows, {facts.labels:,} of use are newer than the champion's")
        if not decision.act:
            return _wait(case, found.counts)
        for reason in decision.reasons:
            log.say(reason)
        if request.dry_run:
            return _carry_out(case, found, raw, parted, graph)
        _note(case, BEGIN)
        try:
            return _carry_out(case, found, raw, parted, graph)
        except StoreUnavailable:  # that says nothing about this retraining: the next run goes on
            raise
        except Exception as error:  # whatever it is, it has to end, or every later run would begin it again
            return _fail(case, error, found.counts)


def _carry_out(
    case: Case, found: Collected, raw: pd.DataFrame, parted: Pool, graph: Callable[[Task, Layout], None]
) -> Outcome:
    task, params, layout, log = case.task, case.params, case.layout, case.log
    if faults := inspect_found(task, layout, case.store, found, raw):
        if not case.request.dry_run:
            name = put_aside(layout, found, faults, case.scene, log)
            _note(case, END, QUARANTINED, tuple(faults), name)
        return Outcome(QUARANTINED, case.decision, case.facts, tuple(faults), found.counts)
    with Bar(0, "histories: fits") as bar:
        choice = choose(task, params, parted, lambda: bar.update(1))
    log.say(choice.reason)
    if case.request.dry_run:
        return Outcome("would act", case.decision, case.facts, (), found.counts, choice.to_dict())
    snapshot = save(task, layout, case.store, found, choice)
    graph(task, layout)
    verdict = _offer(case, _describe(case, snapshot, choice))
    _note(case, END, verdict.action, verdict.reasons)
    log.say(f"{verdict.action}{f': {verdict.version}' if verdict.version else ''}")
    told = {"action": verdict.action, "version": verdict.version, "evidence": dict(verdict.evidence)}
    return Outcome(verdict.action, case.decision, case.facts, verdict.reasons, found.counts, choice.to_dict(), told)


def _wait(case: Case, counts: Mapping[str, int]) -> Outcome:
    for reason in case.decision.reasons:
        case.log.say(reason)
    if not case.request.dry_run:
        _note(case, WAIT)
    return Outcome("wait", case.decision, case.facts, case.decision.reasons, counts)


def _fail(case: Case, error: Exception, counts: Mapping[str, int]) -> Outcome:
    reason = str(error) if isinstance(error, TidelineError) else f"{type(error).__name__}: {error}"
    if not isinstance(error, TidelineError):
        traceback.print_exc()
    _note(case, END, FAILED, (reason,))
    case.log.say(f"failed: {reason}")
    return Outcome(FAILED, case.decision, case.facts, (reason,), counts)


def _offer(case: Case, told: dict[str, Any]) -> Verdict:
    against = case.facts.champion
    if case.request.canary:
        from tideline.rollout import challenge

        return challenge(case.task, case.params, case.layout, "canary", case.request.canary, None, told, against)
    from tideline.registry import promote

    return promote(case.task, case.params, case.layout, told, against)


def _describe(case: Case, snapshot: Snapshot, choice: Choice) -> dict[str, Any]:
    return {
        "retraining": {
            "key": case.facts.key,
            "trigger": case.decision.trigger,
            "reasons": list(case.decision.reasons),
            "labelled": {"rows": snapshot.manifest["rows"], "sha256": snapshot.sha256},
            "history": {**choice.history.to_dict(), "reason": choice.reason},
        }
    }


def _note(
    case: Case, event: Event, outcome: str = "", reasons: tuple[str, ...] | None = None, window: str = ""
) -> None:
    facts, decision = case.facts, case.decision
    told = decision.reasons if reasons is None else reasons
    known = {**asdict(facts), "canary": case.request.canary, "window": window}
    passed = round((time.monotonic() - case.start) * 1e6) if event == END else 0
    append_line(
        case.layout.decisions, Line(facts.now + passed, event, facts.key, decision.trigger, told, outcome, known)
    )
