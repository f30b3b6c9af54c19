"""Brings a task's raw data to its snapshot: data.parquet and a manifest that says where it came from."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tideline.contracts import Task, TidelineError
from tideline.data_download import hash_file
from tideline.data_frame import column_names, conform, hash_frame
from tideline.data_sources import SOURCES, Found, find_data
from tideline.layout import Layout
from tideline.params import Params
from tideline.progress import Log, stage


def fetch(task: Task, params: Params, layout: Layout, source: str = "auto") -> None:
    """Write raw/data.parquet and raw/manifest.json from the first source that has the data.

    `auto` tries the folder that TIDELINE_DATA_DIR names, data/external/, the public addresses and, last,
    the simulator; any other name tries that source alone. A task whose data an installed package ships
    is always read from there. With `auto`, real data in the snapshot is never replaced by simulated data.

    Raises TidelineError that lists what was tried and what to do, or names both hashes of a wrong file.
    """
    if source not in SOURCES:
        raise TidelineError(f"source is {source!r}; expected one of {', '.join(SOURCES)}")
    with stage("fetch", task.name) as log:
        layout.raw.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=layout.raw.parent) as folder:
            fresh = Path(folder) / "data.parquet"
            found = find_data(task, params, layout, source, fresh, _holds_real_data(layout), log)
            if found is None:
                _check_snapshot(layout)
                log.say(f"kept the real data that lies in {layout.raw}: simulated data never takes its place by itself")
                log.say("(to have simulated data all the same, ask for it with --source simulator)")
                return
            _keep_or_replace(task, layout, fresh, found, log)


def read_manifest(layout: Layout) -> dict[str, Any] | None:
    """raw/manifest.json, or None if there is no snapshot; raises TidelineError if it cannot be read."""
    path = layout.raw / "manifest.json"
    if not path.is_file():
        return None
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        _ = manifest["simulated"], manifest["content"]
    except (ValueError, KeyError, TypeError) as error:
        raise TidelineError(f"{path} is broken ({error!r}); remove the folder {layout.raw} and fetch again") from error
    return manifest


def _holds_real_data(layout: Layout) -> bool:
    manifest = read_manifest(layout)
    return manifest is not None and not manifest["simulated"] and (layout.raw / "data.parquet").is_file()


def _check_snapshot(layout: Layout) -> None:
    manifest, data = read_manifest(layout), layout.raw / "data.parquet"
    if manifest is not None and (found := hash_file(data)) != manifest["content"]:
        raise TidelineError(
            f"{data} was changed since it was fetched: sha256 is {found}, the manifest says {manifest['content']}; "
            f"restore it (dvc checkout), or remove {layout.raw} and fetch again"
        )


def _keep_or_replace(task: Task, layout: Layout, fresh: Path, found: Found, log: Log) -> None:
    manifest = {
        "task": task.name,
        "source": found.source,
        "simulated": found.simulated,
        "rows": pq.ParquetFile(fresh).metadata.num_rows,
        "sha256": found.sha256,
        "content": hash_file(fresh),
        "origin": found.origin,
        "tried": list(found.tried),
        "columns": column_names(task),
        "dropped": dict(task.dropped),
        "licence": task.source.licence,
        **found.details,
    }
    old, data = read_manifest(layout), layout.raw / "data.parquet"
    label = "SIMULATED rows" if found.simulated else "rows"
    log.say(f"{manifest['rows']:,} {label} from {found.source} ({found.origin}), sha256 {found.sha256[:12]}")
    same = data.is_file() and hash_file(data) == manifest["content"]
    if same and old is not None and old["content"] == manifest["content"] and old["simulated"] == found.simulated:
        log.say(f"the snapshot in {layout.raw} already holds these very rows: left untouched")
        return
    layout.raw.mkdir(parents=True, exist_ok=True)
    note = layout.raw / ".manifest.json.part"
    note.write_text(json.dumps(manifest, indent=2) + "\n")
    fresh.replace(data)
    note.replace(layout.raw / "manifest.json")
    log.say(f"written to {layout.raw}")


__all__ = ["SOURCES", "conform", "fetch", "hash_file", "hash_frame", "read_manifest"]
