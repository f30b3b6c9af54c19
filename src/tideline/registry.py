"""The registry: versions that never change, one pointer that is swapped, one ledger that says why.

    registry/<task>/versions/v0001-<digest>/   a bundle, copied byte by byte
    registry/<task>/champion.json              which version is served, and which beside it (pointer.py)
    registry/<task>/parity/v0001-<digest>.json what it should answer to rows of the holdout (live_parity.py)
    registry/<task>/lineage/v0001-<digest>/    the parameters and hashes of data that it was made from (lineage/kept.py)
    registry/<task>/ledger.jsonl               every act with its evidence (ledger.py)

A promotion writes the version, its parity sample and lineage, then the ledger, then the pointer; each step is on the
disk before the next begins. So the pointer always names a whole version. Killed before the ledger, a version without an
entry is left, which the next promotion of that bundle uses; killed after it, the entry is recorded as abandoned by the
next writer.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tideline.bookkeeping import PATIENCE, ledger_file, settle, writing
from tideline.bundle import Bundle, copy_bundle, load_bundle
from tideline.champion import champion_bundle, find_version, list_versions, store_version, versions_folder
from tideline.contracts import Task, TidelineError
from tideline.layout import Layout
from tideline.ledger import Entry, Ledger, append_entry, read_ledger
from tideline.lineage.kept import keep_lineage
from tideline.lineage.restoring import describe_unfinished
from tideline.live_parity import write_parity
from tideline.params import Params
from tideline.pointer import Challenger, Pointer, RouterKind, move_pointer, read_pointer
from tideline.progress import stage
from tideline.succession import (
    PROMOTED,
    ROLLED_BACK,
    check_moved,
    check_withdrawn,
    find_last_move,
    find_lost,
    list_changes,
    trace_line,
)
from tideline.verdict import ALREADY, REFUSED, RESTORED, Verdict


@dataclass(frozen=True)
class Status:
    """State of a task's registry. line: the champions up to this one. `warnings` are sentences for a person."""

    task: str
    champion: str | None
    digest: str | None
    since: str | None
    versions: tuple[str, ...]
    previous: str | None
    line: tuple[str, ...]
    challengers: tuple[Challenger, ...]
    router: RouterKind
    warnings: tuple[str, ...]


def promote(
    task: Task, params: Params, layout: Layout, told: Mapping[str, Any] | None = None, against: str | None = None
) -> Verdict:
    """Make the built bundle champion if it passes the gate; the verdict is recorded either way.

    told: joins the recorded evidence, such as why it was trained. against: the champion that it was made to succeed;
    if another one is by now, it is refused.

    Raises TidelineError if a bundle is broken, the holdout is absent, or the registry is damaged or held by another.
    """
    with stage("promote", task.name) as log, writing(layout):
        challenger = load_bundle(layout.bundle)
        if challenger.manifest.task != task.name:
            raise TidelineError(f"{layout.bundle} is a bundle of {challenger.manifest.task!r}, not of {task.name!r}")
        entries = settle(layout)
        pointer = read_pointer(layout)
        if pointer is not None and pointer.digest == challenger.digest:
            _restore_if_broken(layout, pointer, challenger)
            log.say(f"{pointer.version} is champion already")
            return Verdict(ALREADY, pointer.version, pointer.digest)
        from tideline.gate import judge, read_holdout

        champion = load_bundle(versions_folder(layout) / pointer.version) if pointer else None
        judgement = judge(task, params, layout, challenger, champion)
        reasons = [*check_moved(pointer, against), *judgement.reasons, *check_withdrawn(entries, challenger.digest)]
        evidence = {**(told or {}), **judgement.evidence, "champion_version": pointer.version if pointer else None}
        if ended := _list_ended(pointer):
            evidence["ended"] = ended
        if reasons:
            append_entry(ledger_file(layout), REFUSED, "", challenger.digest, reasons, evidence)
            log.say(f"refused: {'; '.join(reasons)}")
            return Verdict(REFUSED, "", challenger.digest, tuple(reasons), evidence)
        version = store_version(layout, challenger)
        write_parity(layout, version, challenger, read_holdout(task, layout).frame, params.export, params.seed)
        evidence["lineage"] = keep_lineage(layout, version, challenger)
        entry = append_entry(ledger_file(layout), PROMOTED, version, challenger.digest, (), evidence)
        move_pointer(layout, Pointer(version, challenger.digest, entry.seq))
        log.say(f"{version} is champion, in {versions_folder(layout) / version}")
        return Verdict(PROMOTED, version, challenger.digest, (), evidence)


def rollback(
    layout: Layout,
    to: str | None = None,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
    patience: float = PATIENCE,
) -> Verdict:
    """Point back to the champion before this one, or to the version `to` (its name, or the part before the dash).

    The bundle that is left is withdrawn: it is not promoted again. Raises TidelineError if there is no such version,
    its bundle is broken, or another writes for longer than `patience` seconds.
    """
    with stage("rollback", layout.task) as log, writing(layout, patience):
        # A named version also mends a pointer that is lost or does not fit the ledger.
        entries = settle(layout) if to is None else read_ledger(ledger_file(layout)).entries
        try:
            pointer = read_pointer(layout)
        except TidelineError:
            if to is None:
                raise
            pointer = None
        version = find_previous(layout, entries) if to is None else find_version(layout, to)
        bundle = load_bundle(versions_folder(layout) / version)
        if pointer is not None and pointer.version == version and entries and pointer.seq == find_last_move(entries):
            log.say(f"{version} is champion already")
            return Verdict(ALREADY, version, bundle.digest)
        told = {**(evidence or {}), "from": pointer.version if pointer else None, "ended": _list_ended(pointer)}
        reasons = [reason] if reason else []
        entry = append_entry(ledger_file(layout), ROLLED_BACK, version, bundle.digest, reasons, told)
        move_pointer(layout, Pointer(version, bundle.digest, entry.seq))
        log.say(f"{version} is champion, in {bundle.path}")
        return Verdict(ROLLED_BACK, version, bundle.digest, entry.reasons, told)


def status(layout: Layout) -> Status:
    """State of the registry; changes nothing."""
    ledger, pointer = read_ledger(ledger_file(layout)), read_pointer(layout)
    warnings = [ledger.damage] if ledger.damage else []
    try:
        if lost := find_lost(layout, ledger, pointer):
            warnings.append(
                f"entry {lost.seq} ({lost.action} {lost.version}) never took effect: its process was stopped"
            )
    except TidelineError as error:
        warnings.append(str(error))
    try:
        if unfinished := describe_unfinished(layout):
            warnings.append(unfinished)
    except TidelineError as error:
        warnings.append(str(error))
    since = None
    if pointer is not None:
        changes = list_changes(ledger.entries[: pointer.seq])
        since = changes[-1].time if changes else None
        try:
            load_bundle(champion_bundle(layout))
        except TidelineError as error:
            warnings.append(str(error))
    line, _ = trace_line(ledger.entries)
    champion, digest = (pointer.version, pointer.digest) if pointer else (None, None)
    previous = line[-2] if len(line) > 1 else None
    challengers, router = (pointer.challengers, pointer.router) if pointer else ((), "split")
    versions = list_versions(layout)
    return Status(
        layout.task, champion, digest, since, versions, previous, tuple(line), challengers, router, tuple(warnings)
    )


def history(layout: Layout) -> Ledger:
    """All entries, oldest first, and what is damaged. Raises TidelineError if the ledger was altered."""
    return read_ledger(ledger_file(layout))


def _list_ended(pointer: Pointer | None) -> list[str]:
    return [c.version for c in pointer.challengers] if pointer else []


def find_previous(layout: Layout, entries: tuple[Entry, ...]) -> str:
    """The champion before this one. Raises TidelineError if there is none."""
    line, _ = trace_line(entries)
    if len(line) < 2:
        raise TidelineError(
            f"{layout.task} has no champion before {line[0] if line else 'the first'}: nothing to roll back to"
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
        append_entry(ledger_file(layout), RESTORED, pointer.version, pointer.digest, [str(error)])
