"""What a version was made from, kept beside it when it enters the registry, and never changed.

    registry/<task>/lineage/<version>/params.yaml   the project's parameters, byte by byte
    registry/<task>/lineage/<version>/dvc.lock      the task's stages: hashes of all they read and wrote
    registry/<task>/lineage/<version>/metrics.json  the one output that DVC's cache does not hold
    registry/<task>/lineage/<version>/lineage.json  the sha256 of these, and what could not be kept, and why

The ledger's entry holds the sha256 of lineage.json. A bundle that was built without DVC has no lock: that is said.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tideline.bundle import Bundle, sync_folder, to_json, write_durably
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.ledger import Entry
from tideline.lineage.graph_lock import (
    LOCK,
    Stages,
    find_out,
    hash_path,
    list_params,
    parse_lock,
    read_lock,
    select_stages,
    write_lock,
)

PARAMS, METRICS, LINEAGE = "params.yaml", "metrics.json", "lineage.json"
FORMAT = 1


@dataclass(frozen=True)
class Lineage:
    """What was kept of a version. params, metrics: bytes. stages: of the lock. notes: sentences on what lacks."""

    path: Path
    sha256: str
    notes: tuple[str, ...]
    params: bytes | None = field(default=None, repr=False)
    metrics: bytes | None = field(default=None, repr=False)
    stages: Stages | None = field(default=None, repr=False)

    def read_params(self) -> dict[str, Any]:
        """The parameters as plain values; empty if none were kept."""
        return {} if self.params is None else dict(yaml.safe_load(self.params))


def lineage_folder(layout: Layout, version: str) -> Path:
    """Where a version's lineage lies."""
    return layout.registry / "lineage" / version


def keep_lineage(layout: Layout, version: str, bundle: Bundle) -> dict[str, Any]:
    """Keep what the bundle was made from; what the ledger should say of it. The caller holds the registry.

    What was kept before stays. Raises TidelineError if that is damaged, or dvc.lock cannot be read.
    """
    folder = lineage_folder(layout, version)
    if not folder.exists():
        files, notes = _collect(layout, bundle)
        record = {"format": FORMAT, "task": layout.task, "version": version, "digest": bundle.digest, "notes": notes}
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        files[LINEAGE] = to_json({**record, "files": hashes}, f"{folder}/{LINEAGE}")
        _write(folder, files)
    kept = _read(folder)
    return {"sha256": kept.sha256, "graph": kept.stages is not None, "notes": list(kept.notes)}


def read_lineage(layout: Layout, version: str, entries: tuple[Entry, ...]) -> Lineage | None:
    """What was kept of a version, verified against the ledger; None if it entered before lineage was kept.

    Raises TidelineError that names the file that lacks or was changed.
    """
    folder = lineage_folder(layout, version)
    recorded = [e for e in entries if e.version == version and isinstance(e.evidence.get("lineage"), Mapping)]
    if not recorded:
        return None
    if not folder.is_dir():
        raise TidelineError(f"{folder} is gone, though entry {recorded[0].seq} kept it; restore it from a backup")
    kept = _read(folder)
    for entry in recorded:
        if entry.evidence["lineage"]["sha256"] != kept.sha256:
            raise _changed(folder, LINEAGE, kept.sha256, entry.evidence["lineage"]["sha256"], f"entry {entry.seq} says")
    return kept


def _collect(layout: Layout, bundle: Bundle) -> tuple[dict[str, bytes], list[str]]:
    files: dict[str, bytes] = {}
    notes = []
    place, made_with = layout.root / PARAMS, bundle.manifest.hashes.get("params")
    try:
        files[PARAMS] = place.read_bytes()
    except FileNotFoundError:
        notes.append(f"there was no {PARAMS}")
    else:
        if made_with != hashlib.sha256(files[PARAMS]).hexdigest():
            notes.append(f"{PARAMS} was changed after the bundle was drafted")
    lock = read_lock(layout.root / LOCK)
    stages = select_stages(lock, layout.task) if lock else {}
    if not stages:
        return files, [*notes, f"the bundle was built without DVC: no {LOCK} speaks of {layout.task}"]
    out = find_out(stages, layout.bundle.relative_to(layout.root).as_posix())
    found = hash_path(bundle.path)
    if out is None or out.md5 != found:
        other = f"another bundle ({out.md5})" if out else "none"
        return files, [*notes, f"the bundle ({found}) is not the graph's: {LOCK} speaks of {other}"]
    files[LOCK] = write_lock(stages)
    notes += _compare_params(files.get(PARAMS), stages)
    metrics = find_out(stages, (layout.reports / METRICS).relative_to(layout.root).as_posix())
    if metrics is not None and hash_path(layout.reports / METRICS) == metrics.md5:
        files[METRICS] = (layout.reports / METRICS).read_bytes()
    return files, notes


def _compare_params(content: bytes | None, stages: Stages) -> list[str]:
    """Where params.yaml no longer says what the stages ran with."""
    raw = yaml.safe_load(content) if content is not None else {}
    changed = [name for name, value in list_params(stages).items() if look_up(raw, name) != value]
    return [f"the graph ran with other values of {', '.join(changed)} than {PARAMS} holds"] if changed else []


def look_up(params: Any, name: str) -> Any:
    """The value of `gate.confidence` and the like; None if there is none."""
    for key in name.split("."):
        params = params.get(key) if isinstance(params, Mapping) else None
    return params


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    temporary = folder.with_name(f".{folder.name}.tmp-{os.getpid()}")
    for leftover in folder.parent.glob(".*.tmp-*"):  # of a writer that was stopped: the caller holds the registry
        shutil.rmtree(leftover)
    temporary.mkdir(parents=True)
    try:
        for name, content in files.items():
            write_durably(temporary / name, content)
        sync_folder(temporary)
        temporary.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read(folder: Path) -> Lineage:
    record = _load(folder, LINEAGE)
    try:
        raw = json.loads(record)
        hashes, notes = dict(raw["files"]), tuple(raw["notes"])
    except (ValueError, KeyError, TypeError) as error:
        raise TidelineError(f"{folder / LINEAGE} cannot be read ({error!r}); restore it from a backup") from None
    contents = {name: _load(folder, name) for name in hashes}
    for name, content in contents.items():
        if (found := hashlib.sha256(content).hexdigest()) != hashes[name]:
            raise _changed(folder, name, found, hashes[name], f"{LINEAGE} says")
    stages = parse_lock(contents[LOCK], str(folder / LOCK))["stages"] if LOCK in contents else None
    digest = hashlib.sha256(record).hexdigest()
    return Lineage(folder, digest, notes, contents.get(PARAMS), contents.get(METRICS), stages)


def _load(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise TidelineError(f"{folder / name} cannot be read ({error.strerror}); restore it from a backup") from None


def _changed(folder: Path, name: str, found: str, expected: str, says: str) -> TidelineError:
    return TidelineError(
        f"{folder / name} was changed: its sha256 is {found}, {says} {expected}; restore it from a backup"
    )
