"""The snapshot alone, by hand; and how new rows are inspected before anything learns from them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tideline.contracts import Task
from tideline.labelled import TIME
from tideline.layout import Layout
from tideline.monitor import list_alarms
from tideline.params import Params
from tideline.predlog import Store
from tideline.progress import Bar, Log, stage
from tideline.retraining.collect import Collected
from tideline.retraining.facts import Scene, look_around, make_key
from tideline.retraining.flight import build_flight
from tideline.retraining.journal import ASIDE, QUARANTINED, Line, append_line
from tideline.retraining.quality import inspect_window
from tideline.retraining.quarantine import list_released, set_aside
from tideline.retraining.snapshot import choose, collect, pool, read_raw, save

if TYPE_CHECKING:
    import pandas as pd


def collect_by_hand(task: Task, params: Params, layout: Layout, store: Store, now: int) -> str:
    """The snapshot alone, without guard, graph and gate: "wait" (no labelled rows), "quarantined" or "collected".

    Raises InFlightError, TidelineError.
    """
    with stage("collect", task.name) as log, build_flight(layout):
        scene = look_around(layout, store, now)
        with Bar(0, "rows of the log") as bar:
            found = collect(task, layout, store, now, bar.update)
        log.say(", ".join(f"{name.replace('_', ' ')}: {count:,}" for name, count in found.counts.items()))
        if not len(found.rows):
            log.say("the log has no labelled rows yet")
            return "wait"
        raw = read_raw(task, params, layout)
        if faults := inspect_found(task, layout, store, found, raw):
            name = put_aside(layout, found, faults, scene, log)
            key, known = make_key(task.name, scene.version, found.rows), {"champion": scene.version, "window": name}
            append_line(layout.decisions, Line(now, ASIDE, key, "by hand", tuple(faults), QUARANTINED, known))
            return QUARANTINED
        choice = choose(task, params, pool(task, params, raw, found.rows))
        snapshot = save(task, layout, store, found, choice)
        log.say(f"{len(snapshot.frame):,} rows in {layout.labelled}; {choice.reason}")
        return "collected"


def inspect_found(task: Task, layout: Layout, store: Store, found: Collected, raw: pd.DataFrame) -> list[str]:
    """Why the new rows may not be learnt from; empty if they may. raw: the task's raw data."""
    if not len(found.window):
        return []
    times = found.window[TIME]
    verdicts = list_alarms(store, task.name, int(times.min()), int(times.max()))
    with tempfile.TemporaryDirectory() as pages:
        return inspect_window(task, found.window, raw, verdicts, Path(pages), list_released(layout))


def put_aside(layout: Layout, found: Collected, faults: list[str], scene: Scene, log: Log) -> str:
    """Put the new rows into quarantine, and say so; the name of the window."""
    digest = "" if scene.champion is None else scene.champion.digest
    name = set_aside(layout, found.window, faults, scene.version, digest)
    log.say(f"{len(found.window):,} new rows may not be learnt from, and are in {layout.quarantine / name}:")
    for fault in faults:
        log.say(f"  {fault}")
    return name
