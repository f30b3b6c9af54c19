"""Is a version what its parameters, data and code make? Makes it again, elsewhere, and compares every output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tideline.bookkeeping import ledger_file
from tideline.champion import find_version, read_manifest
from tideline.contracts import Manifest, TidelineError
from tideline.layout import Layout
from tideline.ledger import read_ledger
from tideline.lineage.cache import bring, call_dvc, find_cache, list_content, locate, place
from tideline.lineage.graph_lock import (
    LOCK,
    Item,
    Stages,
    hash_content,
    hash_path,
    list_code,
    list_files,
    list_outs,
    read_lock,
)
from tideline.lineage.ignored import clean, clean_name
from tideline.lineage.kept import METRICS, Lineage, read_lineage
from tideline.lineage.sandbox import list_sources, open_sandbox
from tideline.progress import stage

SAME, TIMES, DIFFERS, UNKNOWN = "same", "same but for times", "differs", "unknown"


@dataclass(frozen=True)
class Finding:
    """One output of a stage. files: how many it has. details: which of them differ, and in what."""

    stage: str
    path: str
    outcome: str
    files: int
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """announced: what is no longer as it was when the version was made. findings: in the graph's order."""

    task: str
    version: str
    announced: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def first(self) -> Finding | None:
        """The first output that is not proved to be the same."""
        return next((f for f in self.findings if f.outcome in (DIFFERS, UNKNOWN)), None)


def audit(layout: Layout, name: str, announce: Callable[[str], object] = lambda text: None) -> Audit:
    """Run the version's stages again from its raw data; `announce` is told at once what is not as it was.

    Raises TidelineError if its lineage or its raw data lacks, or a stage fails.
    """
    version = find_version(layout, name)
    lineage = read_lineage(layout, version, read_ledger(ledger_file(layout)).entries)
    if lineage is None:
        raise TidelineError(f"{version} entered the registry before lineage was kept: it cannot be made again")
    if lineage.stages is None:
        raise TidelineError(f"{version} cannot be made again: {'; '.join(lineage.notes)}")
    announced = compare_circumstances(layout, read_manifest(layout, version), lineage)
    for text in announced:
        announce(text)
    with stage("audit", f"{layout.task} {version}") as log:
        cache, sources = find_cache(layout.root), list_sources(layout, lineage.stages)
        if missing := bring(layout.root, cache, sources):
            raise TidelineError(f"{version} cannot be made again, its data lacks: {'; '.join(missing)}")
        with open_sandbox(layout, lineage, frozenset(source.path for source in sources)) as folder:
            for source in sources:
                place(cache, source, folder / source.path)
            rerun = _name_rerun(lineage.stages, {source.stage for source in sources})
            environment = {"PYTHONPATH": str(folder / "src"), "TIDELINE_DATA_DIR": str(folder / "nowhere")}
            call_dvc(folder, ["repro", "--no-commit", "--no-run-cache", *rerun], environment, _tell(log.say))
            made = read_lock(folder / LOCK)
            if made is None:
                raise TidelineError(f"`dvc repro` left no {LOCK} in {folder}")
            outs = [out for out in list_outs(lineage.stages) if out.stage in rerun]
            changed = [out for out in outs if hash_path(folder / out.path) != out.md5]
            bring(layout.root, cache, changed)  # what is nowhere is told as unknown
            findings = [compare_out(out, folder, cache, lineage) for out in outs]
    return Audit(layout.task, version, tuple(announced), tuple(findings))


def compare_circumstances(layout: Layout, manifest: Manifest, lineage: Lineage) -> list[str]:
    """What is not as it was when the version was made: its notes, code, versions of packages."""
    from tideline.selection import hash_code, list_versions

    found = [f"kept with it: {note}" for note in lineage.notes]
    if manifest.hashes.get("code") != hash_code(layout.root / "src" / "tideline"):
        code = list_code(lineage.stages or {})
        changed = sorted(path for path, md5 in code.items() if hash_path(layout.root / path) != md5)
        files = f"of what its stages name: {', '.join(changed)}" if changed else "none of the files its stages name"
        found.append(f"the code is not that of the version; changed {files}")
    now = list_versions()
    for name in sorted({*now, *manifest.versions}):
        then, today = manifest.versions.get(name, "absent"), now.get(name, "absent")
        if then != today:
            found.append(f"{name} is {today} today, it was {then}")
    return found


def compare_out(out: Item, folder: Path, cache: Path, lineage: Lineage) -> Finding:
    """One recorded output against what lies in `folder` now."""
    place = folder / out.path
    if hash_path(place) == out.md5:
        return Finding(out.stage, out.path, SAME, out.files)
    if not place.exists():
        return Finding(out.stage, out.path, DIFFERS, out.files, (f"{out.path} was not written",))
    recorded = list_content(cache, out)
    if recorded is None:
        text = f"{out.path}: the recorded files are neither in DVC's cache nor in the remote"
        return Finding(out.stage, out.path, UNKNOWN, out.files, (text,))
    made = list_files(place) if out.is_folder else {"": hash_content(place)}
    then, now = ({clean_name(_join(out.path, name)): name for name in names} for names in (recorded, made))
    unknown, details = False, []
    for path in sorted({*then, *now}):
        if path not in now or path not in then:
            details.append(f"{path} was {'written then, and not now' if path in then else 'not there then'}")
            continue
        if recorded[then[path]] == made[now[path]]:
            continue
        before = _read_recorded(cache, recorded[then[path]], path, lineage)
        if before is None:
            unknown = True
            details.append(f"{path} differs, and what it was is neither in DVC's cache nor in the remote")
            continue
        after = (place / now[path] if out.is_folder else place).read_bytes()
        if difference := compare_content(path, before, after):
            details.append(f"{path}: {difference}")
    outcome = UNKNOWN if unknown else DIFFERS if details else TIMES
    return Finding(out.stage, out.path, outcome, max(len(recorded), len(made)), tuple(details))


def compare_content(path: str, before: bytes, after: bytes) -> str | None:
    """In what two contents of a file differ that matters; None if in nothing. See ignored.py."""
    then, now = clean(path, before), clean(path, after)
    if then == now:
        return None
    if path.endswith(".json"):
        if isinstance(then, bytes):
            then, now = json.loads(then), json.loads(now)
        place, left, right = next(_walk(then, now, ""), ("the order of its keys", "one", "another"))
        return f"{place or 'its value'} was {_short(left)}, is {_short(right)}"
    same = next(
        (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    return f"{len(before):,} bytes then, {len(after):,} now, the first that differs is number {same + 1:,}"


def _walk(then: Any, now: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(then, dict) and isinstance(now, dict):
        for key in {**then, **now}:
            yield from _walk(then.get(key, "absent"), now.get(key, "absent"), f"{place}.{key}".lstrip("."))
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for number, (left, right) in enumerate(zip(then, now, strict=True)):
            yield from _walk(left, right, f"{place}[{number}]")
    elif then != now:
        yield place, then, now


def _read_recorded(cache: Path, md5: str, path: str, lineage: Lineage) -> bytes | None:
    if path == f"reports/{lineage.path.parent.parent.name}/{METRICS}" and lineage.metrics is not None:
        return lineage.metrics
    place = locate(cache, md5)
    return place.read_bytes() if place.is_file() and hash_content(place) == md5 else None


def _name_rerun(stages: Stages, sources: set[str]) -> list[str]:
    return [name for name in stages if name not in sources]


def _tell(say: Callable[[str], object]) -> Callable[[str], object]:
    """Of what DVC and the stages print: which stage runs, and what it cost."""
    return lambda line: say(line.removeprefix("== ")) if line.startswith("== ") and "done in" in line else None


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if name else path


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
