"""Back to a version with everything it was made from: model, params.yaml, the task's part of dvc.lock, its data.

Everything is looked at first: if one file is neither in DVC's cache nor in its remote, nothing is changed. Then a
journal is written, and every step is one that may be done twice; killed anywhere, the same command goes on from there.
What params.yaml and dvc.lock held is kept beside them under another name before they are replaced.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tideline.bookkeeping import ledger_file, settle, writing
from tideline.bundle import load_bundle
from tideline.catalog import names
from tideline.champion import find_version, versions_folder
from tideline.contracts import TidelineError
from tideline.file_lock import LockHeldError, hold_lock
from tideline.graph_flight import hold_graph
from tideline.labelled import ensure_folder
from tideline.layout import Layout
from tideline.ledger import append_entry
from tideline.lineage.cache import call_dvc, find_cache, hold_dvc, place
from tideline.lineage.graph_lock import (
    LOCK,
    hash_path,
    list_code,
    list_deps,
    list_outs,
    read_lock,
    replace_stages,
    select_stages,
    write_lock,
)
from tideline.lineage.kept import METRICS, PARAMS, Lineage
from tideline.lineage.replaced import replace_file, swap_file
from tideline.lineage.restore_check import check_restorable, list_strays
from tideline.lineage.restoring import Journal, begin_journal, end_journal, lock_file, read_journal
from tideline.lineage.sandbox import list_sources
from tideline.progress import stage
from tideline.registry import find_previous, rollback
from tideline.retraining.flight import InFlightError, hold_all
from tideline.verdict import Verdict

DATA_RESTORED = "data restored"


@dataclass(frozen=True)
class Restored:
    """What was done. kept: copies of what params.yaml and dvc.lock held. code: files that are not as they were then."""

    verdict: Verdict
    version: str
    kept: tuple[str, ...]
    code: tuple[str, ...]


def restore(layout: Layout, name: str | None = None, reason: str = "") -> Restored:
    """Point back to a version (the champion before this one, or one that was begun to be restored) with all its data.

    Raises TidelineError, having changed nothing, if another process trains or retrains a task of the project, the
    lineage or data lacks, today's graph is another, or files of the task would be lost that DVC does not hold.
    """
    with hold_lock(lock_file(layout)), stage("restore", layout.task), hold_all(layout), _hold_others(layout):
        version = _choose(layout, name)
        ensure_folder(layout)  # or a killed writer's labelled rows would be put in place of the restored ones
        lineage = check_restorable(layout, version)
        assert lineage.stages is not None and lineage.params is not None
        with hold_dvc(layout.root):  # it would read the lock file, or write its own into it, between our two steps
            journal = begin_journal(layout, version, reason)
            verdict = rollback(layout, version, journal.reason, {"restores": [PARAMS, LOCK, f"data/{layout.task}"]})
            kept = [replace_file(layout.root / PARAMS, lineage.params, version)]
            lock = read_lock(layout.root / LOCK)
            if lock is None or select_stages(lock, layout.task) != dict(lineage.stages):
                content = write_lock(replace_stages(lock, layout.task, lineage.stages))
                kept.append(replace_file(layout.root / LOCK, content, version))
        call_dvc(layout.root, ["--wait-for-lock", "checkout", "--force", *lineage.stages])
        _put_the_rest(layout, lineage)
        _prove(layout, lineage)
        _finish(layout, journal, lineage, [text for text in kept if text])
        changed = [p for p, md5 in list_code(lineage.stages).items() if hash_path(layout.root / p) != md5]
        return Restored(verdict, version, tuple(text for text in kept if text), tuple(sorted(changed)))


@contextmanager
def _hold_others(layout: Layout) -> Iterator[None]:
    """Hold the graphs of the project's other tasks: params.yaml and dvc.lock are theirs, too."""
    with ExitStack() as held:
        for task in names("tasks"):
            if task == layout.task:
                continue
            try:
                held.enter_context(hold_graph(Layout(task, layout.root)))
            except LockHeldError as error:
                raise InFlightError(
                    f"process {error.holder} is at work on the graph of {task}, whose params.yaml and dvc.lock are "
                    "the same files; wait for its end"
                ) from None
        yield


def _choose(layout: Layout, name: str | None) -> str:
    if name is not None:
        return find_version(layout, name)
    if (journal := read_journal(layout)) is not None:
        return journal.version
    with writing(layout):
        return find_previous(layout, settle(layout))


def _put_the_rest(layout: Layout, lineage: Lineage) -> None:
    """What `dvc checkout` does not bring: the metrics, which no cache holds, and data that no stage wrote."""
    assert lineage.stages is not None
    if lineage.metrics is not None:
        layout.reports.mkdir(parents=True, exist_ok=True)
        swap_file(layout.reports / METRICS, lineage.metrics)
    for path in list_strays(layout, lineage.stages):
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    cache = find_cache(layout.root)
    for item in list_sources(layout, lineage.stages):
        target = layout.root / item.path
        if hash_path(target) == item.md5:
            continue
        fresh = target.with_name(f".{target.name}.restored")
        for leftover in (fresh, target):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)
        place(cache, item, fresh)
        fresh.replace(target)


def _prove(layout: Layout, lineage: Lineage) -> None:
    assert lineage.stages is not None
    items = [*list_outs(lineage.stages), *(d for d in list_deps(lineage.stages) if not d.path.startswith("src/"))]
    wrong = {item.path for item in items if hash_path(layout.root / item.path) != item.md5}
    if wrong:
        raise TidelineError(
            f"{', '.join(sorted(wrong))}: not what {LOCK} says after `dvc checkout`; does another process "
            "write there? Then stop it and run the same command again"
        )


def _finish(layout: Layout, journal: Journal, lineage: Lineage, kept: list[str]) -> None:
    """Record it, once, and end the journal."""
    with writing(layout):
        entries = settle(layout)
        if not any(e.action == DATA_RESTORED and e.evidence.get("begun") == journal.begun for e in entries):
            digest = load_bundle(versions_folder(layout) / journal.version).digest
            evidence = {"begun": journal.begun, "lineage_sha256": lineage.sha256, "kept": kept}
            reasons = [journal.reason] if journal.reason else []
            append_entry(ledger_file(layout), DATA_RESTORED, journal.version, digest, reasons, evidence)
    end_journal(layout)
