"""A new labelled snapshot: the history is chosen on the rows that may be learnt from, then all is put in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from tideline.contracts import Task, TidelineError
from tideline.data_frame import hash_frame
from tideline.labelled import ID, TIME, Snapshot, ensure_folder, read_snapshot, write_snapshot
from tideline.layout import Layout
from tideline.monitor import list_alarms
from tideline.params import Params
from tideline.predlog import Store
from tideline.retraining.collect import Collected, collect_rows
from tideline.retraining.history import Choice, choose_history
from tideline.retraining.quality import find_late
from tideline.retraining.quarantine import list_ids, list_released, list_times
from tideline.split_labelled import Pool, drop_end, pool_rows, set_split
from tideline.split_rows import part_rows


def collect(
    task: Task, layout: Layout, store: Store, now: int, progress: Callable[[int], object] = lambda rows: None
) -> Collected:
    """The log's labelled rows on top of the present snapshot, without those in quarantine, or late for it. See
    `collect_rows`."""
    former = read_snapshot(layout)
    found = collect_rows(task, store, None if former is None else former.frame, now, list_ids(layout), progress)
    return _hold_back(layout, store, found)


def _hold_back(layout: Layout, store: Store, found: Collected) -> Collected:
    quarantined, window = list_times(layout), found.window
    if not quarantined or not len(window):
        return found
    verdicts = list_alarms(store, layout.task, int(window[TIME].min()), int(window[TIME].max()))
    late = find_late(verdicts, window, quarantined, list_released(layout))
    rows = found.rows[~found.rows[ID].isin(window.loc[late, ID])].reset_index(drop=True)
    counts = {**found.counts, "late_for_quarantine": int(late.sum())}
    return Collected(rows, window[~late].reset_index(drop=True), counts)


def read_raw(task: Task, params: Params, layout: Layout) -> pd.DataFrame:
    """The raw rows that take part. Raises TidelineError if there are none."""
    path = layout.raw / "data.parquet"
    if not path.is_file():
        raise TidelineError(f"no {path}: run `tideline fetch {task.name}` first")
    return drop_end(pd.read_parquet(path), set_split(task, params), params)


def pool(task: Task, params: Params, raw: pd.DataFrame, rows: pd.DataFrame) -> Pool:
    """Where the labelled rows would go, as the split stage parts them."""
    cut = set_split(task, params)
    train, test = part_rows(raw, cut)
    base, held = raw.iloc[train].reset_index(drop=True), raw.iloc[test].reset_index(drop=True)
    return pool_rows(cut, params, base, held, rows)


def choose(task: Task, params: Params, rows: Pool, progress: Callable[[], object] = lambda: None) -> Choice:
    """The history for the rows that may be learnt from; no holdout takes part."""
    settings = params.retraining.history
    return choose_history(task, rows.frame, rows.times, rows.chances, settings, params.seed, progress)


def save(task: Task, layout: Layout, store: Store, found: Collected, choice: Choice) -> Snapshot:
    """Put the snapshot in place; one with the same rows and history is left untouched. Raises TidelineError."""
    ensure_folder(layout)  # if it stays the former one, it has to be in its place
    former = read_snapshot(layout)
    content, told = hash_frame(found.rows), choice.to_dict()
    if former is not None and former.manifest["content"] == content and dict(former.choice) == told:
        return former
    manifest: dict[str, Any] = {
        "task": task.name,
        "store": store.place,
        "rows": len(found.rows),
        "first": int(found.rows[TIME].min()),
        "last": int(found.rows[TIME].max()),
        "counts": found.counts,
        "content": content,
        "previous": None if former is None else former.sha256,
    }
    return write_snapshot(layout, found.rows, manifest, told)
