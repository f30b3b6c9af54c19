"""The labelled snapshot: rows of the prediction log that turned out to be true, and the history to learn from.

    data/<task>/labelled/data.parquet    the task's raw columns, and of the log `log.time` (µs) and `log.prediction_id`
    data/<task>/labelled/manifest.json   window, rows, what was left out, hashes, the store without its password
    data/<task>/labelled/history.json    the chosen history, and the errors that chose it

The folder is empty before the first one. It changes as a whole: a new one is written and flushed under another name,
named `.labelled.next` when it is complete, and then put in place; whoever comes next finishes what a killed process
began (`settle`).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tideline.bundle import hash_file, sync_folder, to_json, write_durably
from tideline.contracts import TidelineError
from tideline.file_lock import hold_lock
from tideline.history_rows import History
from tideline.layout import Layout

if TYPE_CHECKING:
    import pandas as pd

DATA, MANIFEST, HISTORY = "data.parquet", "manifest.json", "history.json"
TIME, ID = "log.time", "log.prediction_id"  # a task may have columns of its own that are called time, or so


@dataclass(frozen=True)
class Snapshot:
    """What a folder holds. frame: raw columns, TIME (int64, µs since 1970-01-01 UTC) and ID, ordered by these two."""

    frame: pd.DataFrame
    manifest: Mapping[str, Any]
    choice: Mapping[str, Any]

    @property
    def history(self) -> History:
        """The chosen one."""
        return History.from_dict(self.choice)

    @property
    def sha256(self) -> str:
        """Of data.parquet."""
        return str(self.manifest["sha256"])


def read_snapshot(layout: Layout) -> Snapshot | None:
    """The present snapshot; None before the first one. What a killed writer left is read as if it were settled, and
    left as it is. Raises TidelineError if it is damaged."""
    import pandas as pd

    folder = _find(layout)
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    try:
        manifest, choice = (json.loads((folder / name).read_text()) for name in (MANIFEST, HISTORY))
        found, expected = hash_file(folder / DATA), manifest["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, repr(error)) from error
    if found != expected:
        raise _damaged(folder, f"{DATA} has sha256 {found}, {MANIFEST} says {expected}")
    return Snapshot(pd.read_parquet(folder / DATA), manifest, choice)


def write_snapshot(
    layout: Layout, frame: pd.DataFrame, manifest: Mapping[str, Any], choice: Mapping[str, Any]
) -> Snapshot:
    """Put a snapshot in place; the same arguments give the same bytes. `sha256` is added to the manifest.

    Raises TidelineError if it cannot be written (the former one then stays), or if another process writes for long.
    """
    with _holding(layout):
        _settle(layout)
        parent = layout.labelled.parent
        try:
            fresh = Path(tempfile.mkdtemp(prefix=".labelled-", dir=parent))
            try:
                frame.to_parquet(fresh / DATA, index=False)
                sealed = {**manifest, "sha256": hash_file(fresh / DATA)}
                write_durably(fresh / DATA, (fresh / DATA).read_bytes())
                write_durably(fresh / MANIFEST, to_json(sealed, MANIFEST))
                write_durably(fresh / HISTORY, to_json(dict(choice), HISTORY))
                fresh.chmod(0o755)
                sync_folder(fresh)
                fresh.rename(_next(layout))
                sync_folder(parent)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        except OSError as error:
            raise TidelineError(
                f"{layout.labelled} cannot be written ({error.strerror or error}): the former snapshot stays; make "
                "room and run it again"
            ) from error
        _settle(layout)
        return Snapshot(frame, sealed, choice)


def ensure_folder(layout: Layout) -> None:
    """An empty folder if there is none; what a killed process began is finished, nothing else is touched."""
    with _holding(layout):
        _settle(layout)
        layout.labelled.mkdir(parents=True, exist_ok=True)


@contextmanager
def _holding(layout: Layout) -> Iterator[None]:
    layout.labelled.parent.mkdir(parents=True, exist_ok=True)
    with hold_lock(layout.root / ".tideline" / f"labelled-{layout.task}.lock"):
        yield


def _settle(layout: Layout) -> None:
    place, fresh, old = layout.labelled, _next(layout), _old(layout)
    if fresh.exists():
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
            place.rename(old)
        fresh.rename(place)
        sync_folder(place.parent)
    elif old.exists() and not place.exists():
        old.rename(place)
    shutil.rmtree(old, ignore_errors=True)
    for leftover in place.parent.glob(".labelled-*"):  # of a writer that was stopped: the lock is ours now
        shutil.rmtree(leftover, ignore_errors=True)


def _find(layout: Layout) -> Path:
    # Where the snapshot lies that `_settle` would put in place.
    if _next(layout).exists():
        return _next(layout)
    return _old(layout) if _old(layout).exists() and not layout.labelled.exists() else layout.labelled


def _next(layout: Layout) -> Path:
    return layout.labelled.with_name(".labelled.next")


def _old(layout: Layout) -> Path:
    return layout.labelled.with_name(".labelled.old")


def _damaged(folder: Path, reason: str) -> TidelineError:
    return TidelineError(
        f"{folder} is damaged ({reason}); bring it back (`dvc checkout`), or remove its files and collect again "
        "(`tideline collect TASK`)"
    )
