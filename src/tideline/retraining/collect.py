"""Labelled rows of the prediction log, in the shape of raw data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tideline.contracts import Column, Task
from tideline.data_frame import all_columns, column_names
from tideline.labelled import ID, TIME
from tideline.predlog import SKEW, Role, Store
from tideline.predlog.read import FEATURE
from tideline.split_labelled import DAY

if TYPE_CHECKING:
    import pyarrow as pa

ROLES: tuple[Role, ...] = ("champion", "canary")  # a shadow's row is the champion's once more


@dataclass(frozen=True)
class Collected:
    """rows: all labelled rows so far, frame as in a snapshot. window: those of them that are new, or whose label was
    corrected. counts: what was read and what was left out."""

    rows: pd.DataFrame
    window: pd.DataFrame
    counts: dict[str, int] = field(default_factory=dict)


def collect_rows(
    task: Task,
    store: Store,
    former: pd.DataFrame | None,
    now: int,
    without: Set[str] = frozenset(),
    progress: Callable[[int], object] = lambda rows: None,
) -> Collected:
    """The rows of the former snapshot and the log's, each with the label that counts now.

    now: µs since 1970-01-01 UTC. without: predictions that are left out, with what the former snapshot says of them.
    Raises StoreUnavailable, or TidelineError if a row does not fit the task's columns.
    """
    counts = dict.fromkeys(("read", "unlabelled", "from_future", "label_before_prediction", "in_quarantine"), 0)
    frames = []
    for role in ROLES:
        for table in store.iterate(task.name, role=role, columns=task.columns):
            frame = _read(task, table, now, counts)
            to_come = _is_yet_to_come(task, frame, now)
            counts["from_future"] += int(to_come.sum())
            frame = frame[~to_come]
            aside = frame[ID].isin(without).to_numpy()
            counts["in_quarantine"] += int(aside.sum())
            frames.append(frame[~aside])
            progress(table.num_rows)
    if former is not None:
        former = former[~(former[ID].isin(without).to_numpy() | _is_yet_to_come(task, former, now))]
    return merge_rows(task, former, frames, counts)


def merge_rows(
    task: Task, former: pd.DataFrame | None, frames: Sequence[pd.DataFrame], counts: dict[str, int]
) -> Collected:
    """One row a prediction (the log's label replaces the former snapshot's), then one row a content: the earliest.

    Ordered by time and prediction, whatever the order they came in.
    """
    old = _empty(task) if former is None else former
    rows = _stack([old, *frames], old).drop_duplicates(ID, keep="last")
    rows = rows.sort_values([TIME, ID], ignore_index=True)
    single = ~rows.duplicated(column_names(task), keep="first").to_numpy()
    kept = rows[single].reset_index(drop=True)
    target = task.target.name
    before = pd.Series(old[target].to_numpy(), index=old[ID].to_numpy(), dtype=object)
    ids = kept[ID]
    is_old = ids.isin(old[ID]).to_numpy()
    corrected = is_old & (ids.map(before).to_numpy() != kept[target].to_numpy(dtype=object))
    told = {
        **counts,
        "duplicates": int((~single).sum()),
        "corrected": int(corrected.sum()),
        "new": int((~is_old).sum()),
    }
    return Collected(kept, kept[~is_old | corrected].reset_index(drop=True), told)


def _read(task: Task, table: pa.Table, now: int, counts: dict[str, int]) -> pd.DataFrame:
    times = table["time"].cast("int64").to_numpy()
    label_times = table["label_time"].cast("int64").to_numpy()  # NaN without a label
    labelled = ~np.isnan(label_times.astype(np.float64))
    # A time that has not come yet is a clock's fault: the row waits until it has.
    future = labelled & ((times > now + SKEW) | (np.nan_to_num(label_times.astype(np.float64)) > now + SKEW))
    taken = labelled & ~future
    counts["read"] += len(times)
    counts["unlabelled"] += int((~labelled).sum())
    counts["from_future"] += int(future.sum())
    # The id says which prediction is meant, so that only the clocks disagree.
    counts["label_before_prediction"] += int((taken & (label_times < times)).sum())
    label = table["label_class"] if task.problem == "classification" else table["label"]
    values = {c.name: _to_raw(c, table[FEATURE + c.name].filter(taken)) for c in task.columns}
    # The log knows features only.
    values |= {c.name: _to_raw(c, [None] * int(taken.sum())) for c in task.extra}
    values[task.target.name] = _to_raw(task.target, label.filter(taken))
    values[TIME] = pd.Series(times[taken], dtype="int64")
    values[ID] = pd.Series(table["prediction_id"].filter(taken).to_pylist(), dtype="str")
    return pd.DataFrame(values)


def _is_yet_to_come(task: Task, rows: pd.DataFrame, now: int) -> NDArray[np.bool_]:
    """(n,): rows of a day that has not begun. It has no true label; and as the newest one, it would make all others
    old, the whole fresh holdout among them."""
    day = task.split.by[0]
    if task.split.kind != "time" or not any(c.name == day and c.kind == "date" for c in all_columns(task)):
        return np.zeros(len(rows), dtype=np.bool_)
    return np.asarray(rows[day].to_numpy(np.float64) * DAY > now + SKEW)


def _to_raw(column: Column, values: Any) -> pd.Series:
    """As `data_frame.conform` leaves it: numbers and days since 1970-01-01 float64, categories `str`."""
    if isinstance(values, list):
        return pd.Series(values, dtype="str" if column.kind == "category" else "float64")
    if column.kind == "category":
        return pd.Series(values.to_pylist(), dtype="str")
    if column.kind == "date":
        values = values.cast("int32")
    return pd.Series(values.to_pandas().to_numpy(dtype=np.float64, na_value=np.nan))


def _empty(task: Task) -> pd.DataFrame:
    kinds = {c.name: "str" if c.kind == "category" else "float64" for c in all_columns(task)}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in {**kinds, TIME: "int64", ID: "str"}.items()})


def _stack(frames: Iterable[pd.DataFrame], like: pd.DataFrame) -> pd.DataFrame:
    present = [frame for frame in frames if len(frame)]
    return pd.concat(present, ignore_index=True).astype(dict(like.dtypes)) if present else like.copy()
