"""Gathers what a decision rests on: registry, verdicts, journal, clock."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from tideline.bookkeeping import find_since, ledger_file
from tideline.bundle import Bundle, load_bundle
from tideline.champion import champion_bundle, list_versions, read_manifest
from tideline.contracts import Manifest
from tideline.data_frame import hash_frame
from tideline.layout import Layout
from tideline.ledger import read_ledger
from tideline.monitor import WindowVerdict, list_history
from tideline.pointer import read_pointer
from tideline.predlog import SKEW, Store
from tideline.retraining.guard import Alarms, Facts
from tideline.retraining.journal import Line, count_refused, find_done, find_unfinished, list_failed, list_finished
from tideline.split_labelled import count_usable
from tideline.succession import has_returned, list_withdrawn

ERRORS = ("realised error", "estimated error")


@dataclass(frozen=True)
class Scene:
    """The champion and the latest verdict on it; None where there is none. since: when it took its place. withdrawn:
    versions that came after it and are withdrawn -> usable labelled rows that each had learnt. canaries: their shares.
    """

    champion: Bundle | None
    verdict: WindowVerdict | None
    since: int | None = None
    withdrawn: Mapping[str, int] = field(default_factory=dict)
    canaries: Mapping[str, float] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The champion's name; "" if there is none."""
        return "" if self.champion is None else self.champion.path.name


def look_around(layout: Layout, store: Store, now: int) -> Scene:
    """now: µs since 1970-01-01 UTC. Raises TidelineError if the champion's bundle is broken; StoreUnavailable."""
    pointer = read_pointer(layout)
    if pointer is None:
        return Scene(None, None)
    champion = load_bundle(champion_bundle(layout))
    verdicts = list_history(store, layout.task, champion.path.name, limit=1, until=now + SKEW)
    verdict, since = verdicts[0] if verdicts else None, find_since(layout)
    entries = read_ledger(ledger_file(layout)).entries
    if verdict and since and has_returned(entries) and find_moment(verdict) < since <= now + SKEW:
        verdict = None  # on what it did before it left its place
    kept = set(list_versions(layout)).intersection(list_withdrawn(entries))
    withdrawn = {version: count_learnt(read_manifest(layout, version)) for version in sorted(kept)}
    canaries = {c.version: c.share for c in pointer.challengers if c.role == "canary"}
    return Scene(champion, verdict, since, withdrawn, canaries)


def find_moment(verdict: WindowVerdict) -> int:
    """The time that a verdict tells of: of its last row, and never after it was judged."""
    return verdict.judged if verdict.last is None else min(verdict.last, verdict.judged)


def gather_facts(
    layout: Layout, scene: Scene, lines: Sequence[Line], now: int, by_hand: str | None, share: float = 0.0
) -> Facts:
    """All but what the log says. now: µs since 1970-01-01 UTC. by_hand: a person's reason, or None. share: of the
    requests, that the result is to get as a canary."""
    unfinished = find_unfinished(lines)
    return Facts(
        task=layout.task,
        champion=scene.version,
        now=now,
        since=scene.since,
        alarms=read_alarms(scene.verdict),
        finished=list_finished(lines),
        failed=list_failed(lines),
        unfinished="; ".join(unfinished.reasons) if unfinished else "",
        by_hand=by_hand,
        withdrawn=tuple(scene.withdrawn),
        canaries=tuple(scene.canaries),
        taken=sum(scene.canaries.values()),
        share=share,
    )


def add_rows(
    facts: Facts,
    scene: Scene,
    rows: pd.DataFrame,
    counts: Mapping[str, int],
    lines: Sequence[Line],
    corrected: int = 0,
) -> Facts:
    """The facts with what the log says. rows: all labelled rows so far. counts: where they would go
    (`split_labelled.Pool.counts`). corrected: rows whose label is another than in the last snapshot."""
    key = make_key(facts.task, facts.champion, rows)
    labels = usable = count_usable(counts)
    if facts.by_hand is None:  # a person may know better what is new in them
        learnt = 0 if scene.champion is None else count_learnt(scene.champion.manifest)
        known = max(learnt, count_refused(lines, facts.champion), *scene.withdrawn.values())
        labels = max(0, usable - known) + corrected
    return replace(facts, key=key, labels=labels, usable=usable, fresh=counts["fresh"], done=find_done(lines, key))


def make_key(task: str, champion: str, rows: pd.DataFrame) -> str:
    """Names a retraining by what it would start from: the same champion and rows have the same key."""
    return hashlib.sha256(f"{task}\0{champion}\0{hash_frame(rows)}".encode()).hexdigest()[:16]


def count_learnt(manifest: Manifest) -> int:
    """Labelled rows that were there when a version was trained, and were of use."""
    labelled = manifest.provenance.get("labelled")
    return 0 if labelled is None else count_usable(labelled)


def read_alarms(verdict: WindowVerdict | None) -> Alarms:
    """A verdict as the guard sees it. Where labels tell the error, and it is no worse, the estimate is not believed;
    but labels of rows that are mostly older than the window say nothing against it."""
    if verdict is None:
        return Alarms()
    errors: list[str] = []
    pending: list[str] = []
    drifts: list[str] = []
    faults: list[str] = []
    realised = next((c for c in verdict.checks if c.part == "error" and c.subject == ERRORS[0]), None)
    span = verdict.errors.span
    is_current = span is None or 2 * verdict.errors.labelled >= span.rows
    for check in verdict.checks:
        if not check.breached:
            continue
        if check.concern == "error" and check.subject in ERRORS:
            said = f"{check.subject} is {check.effect:.0%} above training, {check.windows} windows in a row"
            contradicted = check.subject == ERRORS[1] and is_current and realised is not None and not realised.breached
            if contradicted:
                pending.append(f"{said}, but labels do not show it ({realised.remark if realised else ''})")
            else:
                (errors if check.alarm else pending).append(said)
        elif check.alarm and check.concern == "drift":
            drifts.append(f"{check.subject} ({check.test})")
        elif check.alarm and check.concern == "quality":
            faults.append(f"{check.subject} ({check.test})")
    return Alarms(verdict.status, tuple(errors), tuple(pending), tuple(drifts), tuple(faults))
