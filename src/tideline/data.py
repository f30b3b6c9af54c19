"""Brings a task's raw data to its snapshot: data.parquet and a manifest that says where it came from."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tideline.contracts import Column, Task, TidelineError
from tideline.data_download import check_sha256, download, hash_file, read_timeout
from tideline.layout import Layout
from tideline.params import Params
from tideline.progress import Log, stage

SOURCES = ("auto", "folder", "external", "download", "simulator")


class _NotHere(Exception):
    """This source has nothing for the task; the next one may be tried."""


@dataclass(frozen=True)
class _Found:
    source: str
    origin: str
    sha256: str
    simulated: bool = False
    details: dict[str, Any] = field(default_factory=dict)


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
            tried: list[str] = []
            found = _find(task, params, layout, source, fresh, tried, log)
            if found is None:
                return
            _keep_or_replace(task, layout, fresh, found, tried, log)


def conform(task: Task, frame: pd.DataFrame) -> pd.DataFrame:
    """The task's columns in order (features, extra, target): numbers and dates float64, categories pandas `str`.

    Dates may be datetimes, ISO text or days since 1970-01-01. Text that is no number is left as it is, for
    validation to name. Raises TidelineError for a missing column, or one that the task does not know.
    """
    columns = (*task.columns, *task.extra, task.target)
    names = [column.name for column in columns]
    if lacking := [name for name in names if name not in frame]:
        raise TidelineError(f"data of {task.name} lacks the columns {lacking}; it has {list(frame.columns)}")
    if unknown := [name for name in frame if name not in names and name not in task.dropped]:
        raise TidelineError(
            f"data of {task.name} has the columns {unknown} that tasks/{task.name}.py does not know; "
            "add them to its columns, or to `dropped` with the reason"
        )
    return pd.DataFrame({column.name: _convert(frame[column.name], column) for column in columns})


def _convert(values: pd.Series, column: Column) -> pd.Series:
    if column.kind == "category":
        return values.astype("str")
    if column.kind == "date" and not pd.api.types.is_numeric_dtype(values):
        dates = pd.to_datetime(values, format="ISO8601", errors="coerce")
        if dates.isna().sum() > values.isna().sum():
            return values.astype("str")
        return (dates - pd.Timestamp(0)) / pd.Timedelta(days=1)
    try:
        return pd.to_numeric(values).astype("float64")
    except (ValueError, TypeError):
        return values.astype("str")


def _find(
    task: Task, params: Params, layout: Layout, source: str, fresh: Path, tried: list[str], log: Log
) -> _Found | None:
    if task.source.load is not None:
        return _load_package(task, fresh)
    ways: dict[str, Callable[[], _Found]] = {
        "folder": lambda: _read_file(task, fresh, "folder", _folder()),
        "external": lambda: _read_file(task, fresh, "external", layout.root / "data" / "external"),
        "download": lambda: _read_download(task, layout, fresh),
        "simulator": lambda: _simulate(task, params, fresh),
    }
    for name in ways if source == "auto" else (source,):
        if name == "simulator" and source == "auto" and _holds_real_data(layout):
            log.say(f"no source answered ({'; '.join(tried)})")
            log.say(f"kept the real data in {layout.raw}: simulated data never replaces it unless you ask with --source simulator")
            return None
        try:
            return ways[name]()
        except _NotHere as reason:
            tried.append(f"{name}: {reason}")
            log.say(f"not from {name}: {reason}")
    raise TidelineError(
        f"no data for {task.name} (source: {source}). Tried:\n"
        + "".join(f"  - {line}\n" for line in tried)
        + f"What to do: put {task.source.filename} into a folder and set TIDELINE_DATA_DIR to it, or into "
        + f"{layout.root / 'data' / 'external'}"
        + (f", or go where {task.source.urls[0]} can be reached" if task.source.urls else "")
        + (", or ask for simulated data with --source simulator" if task.source.simulate else "")
        + "."
    )


def _folder() -> Path:
    name = os.environ.get("TIDELINE_DATA_DIR", "")
    if not name:
        raise _NotHere("TIDELINE_DATA_DIR is not set")
    if not Path(name).is_dir():
        raise _NotHere(f"TIDELINE_DATA_DIR is {name}, which is no folder")
    return Path(name)


def _load_package(task: Task, fresh: Path) -> _Found:
    assert task.source.load is not None
    frame = conform(task, task.source.load())
    _write_parquet(frame, fresh)
    return _Found("package", f"{task.source.load.__module__}.{task.source.load.__name__}", hash_frame(frame))


def _read_file(task: Task, fresh: Path, source: str, folder: Path) -> _Found:
    path = folder / task.source.filename
    if not path.is_file():
        raise _NotHere(f"no file {path}")
    digest = check_sha256(path, task.source.sha256, str(path))
    _write_parquet(_read(task, path), fresh)
    return _Found(source, path.name, digest)


def _read_download(task: Task, layout: Layout, fresh: Path) -> _Found:
    if not task.source.urls:
        raise _NotHere(f"tasks/{task.name}.py lists no address")
    target = fresh.with_name(task.source.filename)
    read_timeout()
    try:
        url = download(task.source.urls, target, task.source.member, task.source.sha256)
    except TidelineError as error:
        raise _NotHere(str(error)) from error
    _write_parquet(_read(task, target), fresh)
    return _Found("download", url, hash_file(target))


def _simulate(task: Task, params: Params, fresh: Path) -> _Found:
    if not task.source.simulate:
        raise _NotHere(f"{task.name} has no simulator")
    from tideline.simulator import simulate

    settings = params.simulator
    simulate(task.source.simulate, settings.rows, params.seed, settings.scenario, fresh)
    details = {"scenario": settings.scenario, "seed": params.seed}
    return _Found("simulator", f"tideline simulate {task.source.simulate}", hash_file(fresh), simulated=True, details=details)


def _read(task: Task, path: Path) -> pd.DataFrame:
    if task.source.read is None:
        raise TidelineError(f"tasks/{task.name}.py: Source has neither `read` nor `load`")
    try:
        return conform(task, task.source.read(path))
    except (ValueError, KeyError, OSError) as error:
        raise TidelineError(f"{path} cannot be read as data of {task.name}: {error}") from error


def hash_frame(frame: pd.DataFrame) -> str:
    """sha256 of a frame's content: names, types and values in order; does not depend on the file format's version."""
    digest = hashlib.sha256()
    for name in frame:
        digest.update(f"{name}:{frame[name].dtype}:".encode())
        digest.update(pd.util.hash_pandas_object(frame[name], index=False).to_numpy().astype("<u8").tobytes())
    return digest.hexdigest()


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False)


def _holds_real_data(layout: Layout) -> bool:
    manifest = read_manifest(layout)
    return manifest is not None and not manifest["simulated"] and (layout.raw / "data.parquet").is_file()


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


def _keep_or_replace(task: Task, layout: Layout, fresh: Path, found: _Found, tried: list[str], log: Log) -> None:
    import pyarrow.parquet as pq

    rows = pq.ParquetFile(fresh).metadata.num_rows
    manifest = {
        "task": task.name,
        "source": found.source,
        "simulated": found.simulated,
        "rows": rows,
        "sha256": found.sha256,
        "content": hash_file(fresh),
        "origin": found.origin,
        "tried": tried,
        "columns": [c.name for c in (*task.columns, *task.extra, task.target)],
        "dropped": dict(task.dropped),
        "licence": task.source.licence,
        **found.details,
    }
    old, data = read_manifest(layout), layout.raw / "data.parquet"
    label = "SIMULATED rows" if found.simulated else "rows"
    log.say(f"{rows:,} {label} from {found.source} ({found.origin}), sha256 {found.sha256[:12]}")
    same = old is not None and data.is_file() and hash_file(data) == manifest["content"]
    if same and old is not None and old["simulated"] == found.simulated:
        log.say(f"the snapshot in {layout.raw} already holds these very rows: left untouched")
        return
    layout.raw.mkdir(parents=True, exist_ok=True)
    note = layout.raw / ".manifest.json.part"
    note.write_text(json.dumps(manifest, indent=2) + "\n")
    fresh.replace(data)
    note.replace(layout.raw / "manifest.json")
    log.say(f"written to {layout.raw}")


__all__ = ["SOURCES", "conform", "fetch", "hash_frame", "read_manifest"]
