"""How the registry is changed: under its lock, from a settled ledger, each step on the disk before the next begins."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from tideline.champion import versions_folder
from tideline.file_lock import hold_lock
from tideline.layout import Layout
from tideline.ledger import Entry, append_entry, read_ledger
from tideline.pointer import read_pointer
from tideline.succession import ABANDONED, find_lost, list_changes

PATIENCE = 60.0  # seconds that a person at the command line waits for another writer


def ledger_file(layout: Layout) -> Path:
    """Where the ledger lies."""
    return layout.registry / "ledger.jsonl"


def find_since(layout: Layout) -> int | None:
    """When the champion took its place, µs since 1970-01-01 UTC; None if there never was one. Raises TidelineError."""
    changes = list_changes(read_ledger(ledger_file(layout)).entries)
    return round(datetime.fromisoformat(changes[-1].time).timestamp() * 1e6) if changes else None


@contextmanager
def writing(layout: Layout, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the registry; what a stopped writer left is removed.

    Raises LockHeldError if another holds it for longer than `patience` seconds.
    """
    with hold_lock(layout.registry / ".lock", patience):
        versions_folder(layout).mkdir(parents=True, exist_ok=True)
        for leftover in versions_folder(layout).glob(".*.tmp-*"):  # of a writer that was stopped: the lock is ours now
            shutil.rmtree(leftover)
        yield


def settle(layout: Layout) -> tuple[Entry, ...]:
    """The ledger's entries, after an entry whose writer stopped before it moved the pointer was recorded as abandoned.

    Raises TidelineError if ledger and pointer do not fit together, or the ledger was altered.
    """
    ledger, pointer = read_ledger(ledger_file(layout)), read_pointer(layout)
    if lost := find_lost(layout, ledger, pointer):
        reason = f"entry {lost.seq} never took effect: its process was stopped before the pointer was moved"
        append_entry(ledger_file(layout), ABANDONED, lost.version, lost.digest, [reason], {"seq": lost.seq})
    return read_ledger(ledger_file(layout)).entries
