"""The registry: versions that never change, one pointer that is swapped, one ledger that says why.

    registry/<task>/versions/v0001-<digest>/   a bundle, copied byte by byte
    registry/<task>/champion.json              which version is served: {"version", "digest", "seq"}
    registry/<task>/ledger.jsonl               every act with its evidence (ledger.py)

A promotion writes the version, then the ledger, then the pointer; each step is on the disk before the next begins. So
the pointer always names a whole version. Killed after the first step, a version without an entry is left, which the
next promotion of that bundle uses; killed after the second, the entry is recorded as abandoned by the next writer.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tideline.bundle import Bundle, copy_bundle, load_bundle
from tideline.champion import (
    Pointer,
    champion_bundle,
    find_version,
    list_versions,
    move_pointer,
    read_pointer,
    store_version,
    versions_folder,
)
from tideline.contracts import Task, TidelineError
from tideline.layout import Layout
from tideline.ledger import Entry, Ledger, append_entry, hold_lock, read_ledger
from tideline.params import Params
from tideline.progress import stage
from tideline.succession import (
    ABANDONED,
    PROMOTED,
    ROLLED_BACK,
    check_withdrawn,
    find_last_change,
    find_lost,
    trace_line,
)

REFUSED, RESTORED, ALREADY = "refused", "restored", "already champion"

__all__ = [
    "Pointer",
    "Status",
    "Verdict",
    "champion_bundle",
    "history",
    "promote",
    "read_pointer",
    "rollback",
    "status",
]


@dataclass(frozen=True)
class Verdict:
    """Outcome of a promotion or rollback: what was done to which version, why not, and the figures."""

    action: str
    version: str
    digest: str
    reasons: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """False if the challenger was refused."""
        return self.action != REFUSED


@dataclass(frozen=True)
class Status:
    """State of a task's registry. `warnings` are sentences for a person."""

    task: str
    champion: str | None
    digest: str | None
    since: str | None
    versions: tuple[str, ...]
    previous: str | None
    warnings: tuple[str, ...]


def promote(task: Task, params: Params, layout: Layout) -> Verdict:
    """Make the built bundle champion if it passes the gate; the verdict is recorded either way.

    Raises TidelineError if a bundle is broken, the holdout is absent, or the registry is damaged or held by another.
    """
    with stage("promote", task.name) as log, _writing(layout):
        challenger = load_bundle(layout.bundle)
        if challenger.manifest.task != task.name:
            raise TidelineError(f"{layout.bundle} is a bundle of {challenger.manifest.task!r}, not of {task.name!r}")
        entries = _settle(layout)
        pointer = read_pointer(layout)
        if pointer is not None and pointer.digest == challenger.digest:
            _restore_if_broken(layout, pointer, challenger)
            log.say(f"{pointer.version} is champion already")
            return Verdict(ALREADY, pointer.version, pointer.digest)
        from tideline.gate import judge

        champion = load_bundle(versions_folder(layout) / pointer.version) if pointer else None
        judgement = judge(task, params, layout, challenger, champion)
        reasons = [*judgement.reasons, *check_withdrawn(entries, challenger.digest)]
        evidence = {**judgement.evidence, "champion_version": pointer.version if pointer else None}
        if reasons:
            append_entry(_ledger(layout), REFUSED, "", challenger.digest, reasons, evidence)
            log.say(f"refused: {'; '.join(reasons)}")
            return Verdict(REFUSED, "", challenger.digest, tuple(reasons), evidence)
        version = store_version(layout, challenger)
        entry = append_entry(_ledger(layout), PROMOTED, version, challenger.digest, (), evidence)
        move_pointer(layout, Pointer(version, challenger.digest, entry.seq))
        log.say(f"{version} is champion, in {versions_folder(layout) / version}")
        return Verdict(PROMOTED, version, challenger.digest, (), evidence)


def rollback(task: Task, layout: Layout, to: str | None = None, reason: str = "") -> Verdict:
    """Point back to the champion before this one, or to the version `to` (its name, or the part before the dash).

    The bundle that is left is withdrawn: it is not promoted again. Raises TidelineError if there is no such version, or
    its bundle is broken.
    """
    with stage("rollback", task.name) as log, _writing(layout):
        # A named version also mends a pointer that is lost or does not fit the ledger.
        entries = _settle(layout) if to is None else read_ledger(_ledger(layout)).entries
        try:
            pointer = read_pointer(layout)
        except TidelineError:
            if to is None:
                raise
            pointer = None
        version = _previous(task, layout, entries) if to is None else find_version(layout, to)
        bundle = load_bundle(versions_folder(layout) / version)
        if pointer is not None and pointer.version == version and entries and pointer.seq == find_last_change(entries):
            log.say(f"{version} is champion already")
            return Verdict(ALREADY, version, bundle.digest)
        evidence = {"from": pointer.version if pointer else None}
        entry = append_entry(_ledger(layout), ROLLED_BACK, version, bundle.digest, [reason] if reason else [], evidence)
        move_pointer(layout, Pointer(version, bundle.digest, entry.seq))
        log.say(f"{version} is champion, in {bundle.path}")
        return Verdict(ROLLED_BACK, version, bundle.digest, entry.reasons, evidence)


def status(task: Task, layout: Layout) -> Status:
    """State of the registry; changes nothing."""
    ledger, pointer = read_ledger(_ledger(layout)), read_pointer(layout)
    warnings = [ledger.damage] if ledger.damage else []
    try:
        if lost := find_lost(layout, ledger, pointer):
            warnings.append(
                f"entry {lost.seq} ({lost.action} {lost.version}) never took effect: its process was stopped"
            )
    except TidelineError as error:
        warnings.append(str(error))
    since = None
    if pointer is not None:
        since = next((e.time for e in ledger.entries if e.seq == pointer.seq), None)
        try:
            load_bundle(champion_bundle(layout))
        except TidelineError as error:
            warnings.append(str(error))
    line, _ = trace_line(ledger.entries)
    champion, digest = (pointer.version, pointer.digest) if pointer else (None, None)
    previous = line[-2] if len(line) > 1 else None
    return Status(task.name, champion, digest, since, list_versions(layout), previous, tuple(warnings))


def history(task: Task, layout: Layout) -> Ledger:
    """All entries, oldest first, and what is damaged. Raises TidelineError if the ledger was altered."""
    return read_ledger(_ledger(layout))


@contextmanager
def _writing(layout: Layout) -> Iterator[None]:
    with hold_lock(layout.registry / ".lock"):
        versions_folder(layout).mkdir(parents=True, exist_ok=True)
        for leftover in versions_folder(layout).glob(".*.tmp-*"):  # of a writer that was stopped: the lock is ours now
            shutil.rmtree(leftover)
        yield


def _settle(layout: Layout) -> tuple[Entry, ...]:
    ledger, pointer = read_ledger(_ledger(layout)), read_pointer(layout)
    if lost := find_lost(layout, ledger, pointer):
        reason = f"entry {lost.seq} never took effect: its process was stopped before the pointer was moved"
        append_entry(_ledger(layout), ABANDONED, lost.version, lost.digest, [reason], {"seq": lost.seq})
    return read_ledger(_ledger(layout)).entries


def _previous(task: Task, layout: Layout, entries: tuple[Entry, ...]) -> str:
    line, _ = trace_line(entries)
    if len(line) < 2:
        raise TidelineError(
            f"{task.name} has no champion before {line[0] if line else 'the first'}: nothing to roll back to"
        )
    return line[-2]


def _restore_if_broken(layout: Layout, pointer: Pointer, bundle: Bundle) -> None:
    path = versions_folder(layout) / pointer.version
    try:
        load_bundle(path)
    except TidelineError as error:
        if path.exists():
            shutil.rmtree(path)
        copy_bundle(bundle, path)
        append_entry(_ledger(layout), RESTORED, pointer.version, pointer.digest, [str(error)])


def _ledger(layout: Layout) -> Path:
    return layout.registry / "ledger.jsonl"
