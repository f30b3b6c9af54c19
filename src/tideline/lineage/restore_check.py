"""What must be true before a version's data is restored: everything is there, and nothing would be lost."""

from __future__ import annotations

import re
from pathlib import Path

from tideline.bookkeeping import ledger_file
from tideline.bundle import load_bundle
from tideline.champion import versions_folder
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.ledger import read_ledger
from tideline.lineage.cache import bring, find_cache, list_content, locate
from tideline.lineage.graph_lock import (
    Item,
    Stages,
    hash_content,
    hash_path,
    list_deps,
    list_files,
    list_outs,
)
from tideline.lineage.kept import METRICS, PARAMS, Lineage, read_lineage
from tideline.lineage.sandbox import check_graph, list_sources
from tideline.params import load_params

_UNFINISHED_COPY = re.compile(r"(^|/)\.[^/]+\.tmp$")  # how DVC names a file while it copies it


def check_restorable(layout: Layout, version: str) -> Lineage:
    """The version's lineage, after everything was found that is needed to restore it."""
    lineage = read_lineage(layout, version, read_ledger(ledger_file(layout)).entries)
    alone = f"`tideline rollback {layout.task} {version}` restores the model alone"
    if lineage is None:
        raise TidelineError(f"{version} entered the registry before lineage was kept; {alone}")
    if lineage.stages is None or lineage.params is None:
        raise TidelineError(f"{version} cannot be restored with its data: {'; '.join(lineage.notes)}; {alone}")
    load_bundle(versions_folder(layout) / version)
    load_params(lineage.path / PARAMS)
    check_graph(layout, lineage)
    cache, metrics = find_cache(layout.root), (layout.reports / METRICS).relative_to(layout.root).as_posix()
    items = [*list_outs(lineage.stages), *list_sources(layout, lineage.stages)]
    needed = list({item.path: item for item in items if item.path != metrics or lineage.metrics is None}.values())
    if missing := bring(layout.root, cache, needed):
        raise TidelineError(
            f"{version} cannot be restored, nothing was changed; neither in DVC's cache nor in its remote: "
            f"{'; '.join(missing)}; {alone}"
        )
    lost = [text for item in needed for text in _list_unsaved(layout.root, cache, item)]
    lost += [_name(layout, path) for path in list_strays(layout, lineage.stages) if not _is_saved(cache, path)]
    if lost:
        raise TidelineError(
            f"restoring {version} would lose files that DVC does not hold, nothing was changed: {'; '.join(lost)}; "
            "keep them with `dvc commit`, or move them away"
        )
    return lineage


def list_strays(layout: Layout, stages: Stages) -> list[Path]:
    """Files in folders that a stage reads as a whole (all trained models) which none of the version's stages wrote."""
    outs = [layout.root / out.path for out in list_outs(stages)]
    folders = [layout.root / dep.path for dep in list_deps(stages) if dep.is_folder and not dep.path.startswith("src/")]
    shared = {f for f in folders if f not in outs and any(f in out.parents for out in outs)}
    files = (path for folder in sorted(shared) for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in files if not any(out == path or out in path.parents for out in outs)]


def _list_unsaved(root: Path, cache: Path, item: Item) -> list[str]:
    """Files where the item belongs that are in no cache."""
    target = root / item.path
    if hash_path(target) == item.md5:
        return []
    known = set((list_content(cache, item) or {}).values())
    files = list_files(target) if target.is_dir() else {"": hash_content(target)} if target.is_file() else {}
    return [
        f"{item.path}/{name}".rstrip("/")
        for name, md5 in files.items()
        if md5 not in known and not locate(cache, md5).is_file() and not _UNFINISHED_COPY.search(name)
    ]


def _is_saved(cache: Path, path: Path) -> bool:
    return locate(cache, hash_content(path)).is_file() or _UNFINISHED_COPY.search(path.name) is not None


def _name(layout: Layout, path: Path) -> str:
    return path.relative_to(layout.root).as_posix()
