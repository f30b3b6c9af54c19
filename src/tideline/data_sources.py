"""The places that may hold a task's data: a folder, data/external, the public addresses, a package, the simulator."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from tideline.contracts import Task, TidelineError
from tideline.data_download import WrongChecksumError, check_sha256, download, hash_file, read_timeout
from tideline.data_frame import column_names, conform, hash_frame
from tideline.layout import Layout
from tideline.params import Params
from tideline.progress import Log

SOURCES = ("auto", "folder", "external", "download", "simulator")


class _NotHereError(Exception):
    """This source has nothing for the task; the next one may be tried."""


@dataclass(frozen=True)
class Found:
    """Where the data came from: source, origin (file name or address), sha256 of that file, what failed before."""

    source: str
    origin: str
    sha256: str
    simulated: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)
    tried: tuple[str, ...] = ()


def find_data(
    task: Task, params: Params, layout: Layout, source: str, fresh: Path, holds_real_data: bool, log: Log
) -> Found | None:
    """Write the task's data to the Parquet file `fresh`, and say where it came from.

    None if `source` is "auto", only the simulator is left, and there already is real data.
    Raises TidelineError that lists what was tried and what to do.
    """
    if task.source.load is not None:
        if source != "auto":
            log.say(f"{task.name} ships with an installed package, and is read from there whatever the source")
        return _load_package(task, fresh)
    tried: list[str] = []
    ways: dict[str, Callable[[], Found]] = {
        "folder": lambda: _read_file(task, fresh, "folder", _folder()),
        "external": lambda: _read_file(task, fresh, "external", layout.root / "data" / "external"),
        "download": lambda: _read_download(task, layout, fresh),
        "simulator": lambda: _simulate(task, params, fresh),
    }
    for name in ways if source == "auto" else (source,):
        if name == "simulator" and source == "auto" and holds_real_data:
            return None
        try:
            return replace(ways[name](), tried=tuple(tried))
        except _NotHereError as reason:
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
        raise _NotHereError("TIDELINE_DATA_DIR is not set")
    if not Path(name).is_dir():
        raise TidelineError(f"TIDELINE_DATA_DIR is {name!r}, which is no folder; set it to one, or unset it")
    return Path(name)


def _load_package(task: Task, fresh: Path) -> Found:
    assert task.source.load is not None
    frame = conform(task, task.source.load())
    _write_parquet(frame, fresh)
    return Found("package", f"{task.source.load.__module__}.{task.source.load.__name__}", hash_frame(frame))


def _read_file(task: Task, fresh: Path, source: str, folder: Path) -> Found:
    path = folder / task.source.filename
    if not path.is_file():
        place = "the folder of TIDELINE_DATA_DIR" if source == "folder" else "data/external"
        raise _NotHereError(f"no {task.source.filename} in {place}")
    digest = check_sha256(path, task.source.sha256, str(path))
    _write_parquet(_read(task, path), fresh)
    return Found(source, path.name, digest)


def _read_download(task: Task, layout: Layout, fresh: Path) -> Found:
    if not task.source.urls:
        raise _NotHereError(f"tasks/{task.name}.py lists no address")
    target = fresh.with_name(task.source.filename)
    read_timeout()
    try:
        url = download(task.source.urls, target, task.source.member, task.source.sha256)
    except WrongChecksumError:
        raise
    except TidelineError as error:
        raise _NotHereError(str(error)) from error
    _write_parquet(_read(task, target), fresh)
    return Found("download", url, hash_file(target))


def _simulate(task: Task, params: Params, fresh: Path) -> Found:
    if not task.source.simulate:
        raise _NotHereError(f"{task.name} has no simulator")
    import pyarrow.parquet as pq

    from tideline.simulator import simulate

    settings = params.simulator
    simulate(task.source.simulate, settings.rows, params.seed, settings.scenario, fresh)
    columns = pq.ParquetFile(fresh).schema_arrow.names
    if columns != column_names(task):
        raise TidelineError(
            f"simulator {task.source.simulate!r} makes {columns}, but {task.name} has {column_names(task)}"
        )
    details = {"scenario": settings.scenario, "seed": params.seed}
    return Found(
        "simulator", f"tideline simulate {task.source.simulate}", hash_file(fresh), simulated=True, details=details
    )


def _read(task: Task, path: Path) -> pd.DataFrame:
    if task.source.read is None:
        raise TidelineError(f"tasks/{task.name}.py: Source has neither `read` nor `load`")
    try:
        return conform(task, task.source.read(path))
    except (ValueError, KeyError, OSError) as error:
        raise TidelineError(f"{path} cannot be read as data of {task.name}: {error}") from error


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False)
