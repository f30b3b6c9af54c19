"""The journal of a restoring that has begun: while it lies there, model, parameters and data may be of two versions."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tideline.bundle import sync_folder, to_json
from tideline.contracts import TidelineError
from tideline.file_lock import find_holder
from tideline.layout import Layout
from tideline.lineage.replaced import swap_file


class Journal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A restoring that has begun. begun: µs since 1970-01-01 UTC."""

    version: str
    reason: str
    begun: int


def lock_file(layout: Layout) -> Path:
    """What a restoring holds while it is at work: one at a time in a project."""
    return layout.root / ".tideline" / "restore.lock"


def read_journal(layout: Layout) -> Journal | None:
    """The restoring that was begun and not finished. Raises TidelineError if the journal is damaged."""
    path = _journal(layout)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Journal)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TidelineError(f"{path} cannot be read ({error}); remove it and name the version to restore") from error


def begin_journal(layout: Layout, version: str, reason: str) -> Journal:
    """Begin one, or go on with the one that was begun for this version."""
    journal = read_journal(layout)
    if journal is not None and journal.version == version:
        return journal
    journal = Journal(version, reason, time.time_ns() // 1000)
    swap_file(_journal(layout), to_json(msgspec.to_builtins(journal), str(_journal(layout))))
    return journal


def end_journal(layout: Layout) -> None:
    """All is done."""
    _journal(layout).unlink()
    sync_folder(layout.registry)


def describe_unfinished(layout: Layout) -> str:
    """One line: what is unfinished, and what finishes it; empty if nothing is. Raises TidelineError."""
    journal = read_journal(layout)
    if journal is None:
        return ""
    begun = f"`tideline rollback {layout.task} --all` to {journal.version}, begun {_date(journal.begun)},"
    if holder := find_holder(lock_file(layout)):
        return f"{begun} is not finished yet: process {holder} is at work"
    return (
        f"{begun} was not finished: model, params.yaml, dvc.lock and data may be of different versions; "
        f"`tideline rollback {layout.task} --all` finishes it"
    )


def check_restored(layout: Layout) -> None:
    """Raises TidelineError while a restoring is unfinished, with what finishes it: nothing is built on a mixture."""
    if unfinished := describe_unfinished(layout):
        raise TidelineError(unfinished)


def _journal(layout: Layout) -> Path:
    return layout.registry / "restoring.json"


def _date(time: int) -> str:
    return f"{datetime.fromtimestamp(time / 1e6, UTC):%Y-%m-%d %H:%M} UTC"
