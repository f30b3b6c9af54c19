"""A task's part of dvc.lock: the stages that made its model, with the hashes of all they read and wrote.

Hashes are DVC's: the md5 of a file; of a folder that of the JSON list of its files, with `.dir` behind it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tideline.contracts import TidelineError

LOCK = "dvc.lock"
SCHEMA = "2.0"
Stages = Mapping[str, Mapping[str, Any]]  # name of a stage -> cmd, deps, params, outs


@dataclass(frozen=True)
class Item:
    """A file or folder that a stage reads or writes. path: from the project's root. md5: DVC's. size: bytes."""

    stage: str
    path: str
    md5: str
    size: int
    files: int = 1

    @property
    def is_folder(self) -> bool:
        return self.md5.endswith(".dir")


def read_lock(path: Path) -> dict[str, Any] | None:
    """A dvc.lock as it is written; None if there is none. Raises TidelineError if it cannot be read."""
    try:
        return parse_lock(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None


def parse_lock(content: bytes, place: str) -> dict[str, Any]:
    """The lock in these bytes. Raises TidelineError that names `place` if they hold none."""
    try:
        raw = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise TidelineError(f"{place} is not valid YAML ({error}); restore it with git, or run `dvc repro`") from None
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA or not isinstance(raw.get("stages"), dict):
        raise TidelineError(
            f"{place} is no lock file of DVC (schema {SCHEMA}); restore it with git, or run `dvc repro`"
        )
    return raw


def write_lock(stages: Stages) -> bytes:
    """A lock file of these stages; the same stages give the same bytes."""
    return yaml.safe_dump({"schema": SCHEMA, "stages": dict(stages)}, sort_keys=False, width=1000).encode()


def belongs(stage: str, task: str) -> bool:
    """Is this a stage of the task (`split@housing`, `train@housing-linear`)?"""
    _, _, item = stage.partition("@")
    return item == task or item.startswith(f"{task}-")


def select_stages(lock: Mapping[str, Any], task: str) -> dict[str, Any]:
    """The task's stages, in the lock's order."""
    return {name: stage for name, stage in lock["stages"].items() if belongs(name, task)}


def replace_stages(lock: Mapping[str, Any] | None, task: str, stages: Stages) -> dict[str, Any]:
    """All stages of the lock, those of the task replaced by these."""
    others = {name: stage for name, stage in (lock or {"stages": {}})["stages"].items() if not belongs(name, task)}
    return {**others, **stages}


def list_outs(stages: Stages) -> list[Item]:
    """What the stages wrote, in their order."""
    return list(_list(stages, "outs"))


def list_deps(stages: Stages) -> list[Item]:
    """What the stages read, code included."""
    return list(_list(stages, "deps"))


def list_inputs(stages: Stages, folder: str) -> list[Item]:
    """What the stages read below a folder without one of them having written it; each once."""
    written = {out.path for out in list_outs(stages)}
    found = {dep.path: dep for dep in list_deps(stages) if dep.path.startswith(f"{folder}/")}
    return [dep for path, dep in found.items() if not any(path == w or path.startswith(f"{w}/") for w in written)]


def find_out(stages: Stages, path: str) -> Item | None:
    """What was written at that path."""
    return next((out for out in list_outs(stages) if out.path == path), None)


def list_code(stages: Stages) -> dict[str, str]:
    """Path -> md5 of the code that the stages depend on."""
    return {dep.path: dep.md5 for dep in list_deps(stages) if dep.path.startswith("src/")}


def list_params(stages: Stages) -> dict[str, Any]:
    """The keys of params.yaml that the stages read, with their values then (`evaluation.levels` is one key)."""
    found: dict[str, Any] = {}
    for stage in stages.values():
        found |= stage.get("params", {}).get("params.yaml", {})
    return dict(sorted(found.items()))


def hash_path(path: Path) -> str | None:
    """DVC's hash of a file or folder; None if nothing is there."""
    if path.is_dir():
        return hash_listing(list_files(path))
    return hash_content(path) if path.is_file() else None


def list_files(folder: Path) -> dict[str, str]:
    """Path within the folder -> md5, of all files below it, as DVC lists them."""
    return {p.relative_to(folder).as_posix(): hash_content(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def hash_listing(files: Mapping[str, str]) -> str:
    """DVC's hash of a folder with these files."""
    listed = [{"md5": md5, "relpath": name} for name, md5 in sorted(files.items())]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"


def hash_content(path: Path) -> str:
    """md5 (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _list(stages: Stages, kind: str) -> Iterator[Item]:
    for name, stage in stages.items():
        for raw in stage.get(kind, ()):
            yield Item(name, raw["path"], raw["md5"], raw.get("size", 0), raw.get("nfiles", 1))
