"""Where labelled rows of the log go: to the training rows, to the fresh holdout, or nowhere. Functions of values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tideline.contracts import Task, TidelineError
from tideline.data_frame import column_names
from tideline.history_rows import History, draw_rows
from tideline.labelled import TIME
from tideline.params import Params
from tideline.split_rows import draw_chances, find_cut

DAY = 86_400_000_000  # µs


@dataclass(frozen=True)
class Pool:
    """All rows that may be learnt from, and the fresh holdout, both as raw frames.

    times: days since 1970-01-01 of the rows that may be learnt from (n,); NaN: older than all with a time. chances:
    see `history_rows.draw_rows`. counts: what became of the labelled rows.
    """

    frame: pd.DataFrame
    times: NDArray[np.float64]
    chances: NDArray[np.float64]
    fresh: pd.DataFrame
    counts: Mapping[str, int]

    @property
    def usable(self) -> int:
        """Labelled rows that say something new."""
        return count_usable(self.counts)

    def draw(self, history: History) -> pd.DataFrame:
        """The training rows of a history, in time order if they have one."""
        end = float(np.nanmax(self.times)) if np.isfinite(self.times).any() else 0.0
        kept = draw_rows(history, self.times, self.chances, end)
        rows: pd.DataFrame = self.frame[kept].reset_index(drop=True)
        return rows


def count_usable(counts: Mapping[str, int]) -> int:
    """Labelled rows that stand in neither of the base's parts."""
    return counts["rows"] - counts["in_old_holdout"] - counts["in_training"]


def set_split(task: Task, params: Params) -> Task:
    """The task, with another cut if params.yaml names one."""
    cut = params.split.cuts.get(task.name)
    return task if cut is None else replace(task, split=replace(task.split, cut=cut))


def drop_end(frame: pd.DataFrame, task: Task, params: Params) -> pd.DataFrame:
    """The rows before the end that params.yaml names, all of them if it names none. Raises TidelineError if the task
    has no order in time."""
    end = params.split.ends.get(task.name)
    if end is None:
        return frame
    if task.split.kind != "time":
        raise TidelineError(f"params.yaml: split.ends names {task.name}, whose rows have no order in time; remove it")
    early = frame[task.split.by[0]].to_numpy() < find_cut(replace(task, split=replace(task.split, cut=end)))
    kept: pd.DataFrame = frame[early].reset_index(drop=True)
    return kept


def pool_rows(task: Task, params: Params, train: pd.DataFrame, test: pd.DataFrame, labelled: pd.DataFrame) -> Pool:
    """Part the labelled rows, and put those that may be learnt from behind the training rows.

    A row that stands in the old holdout (a time-ordered or stratified task: all of its features; else the columns of
    the split) is left out, for it would tell what is tested; one that stands in the training rows is there already.
    Of the others, a share is held out for ever, by a hash: of the features, of the group, or of the day if time counts.
    Those of it that are of the last `retraining.fresh_days` are the fresh holdout.
    """
    ordered = task.split.kind == "time"
    names = column_names(task)
    by = _choose_identity(task)
    tested = _among(labelled, test, task.feature_names) | _among(labelled, test, by)
    known = ~tested & _among(labelled, train, task.feature_names)
    rows = labelled[~tested & ~known].reset_index(drop=True)
    moments = rows[task.split.by[0]] if ordered else rows[TIME] / DAY
    times = moments.to_numpy(np.float64)
    held = draw_chances(rows, task.split.by[:1] if ordered else by, params.seed) < params.retraining.fresh
    recent = times > (times.max() if len(times) else 0.0) - params.retraining.fresh_days
    frame = pd.concat([train, rows.loc[~held, names]], ignore_index=True).astype(dict(train.dtypes))
    base = train[task.split.by[0]].to_numpy(np.float64) if ordered else np.full(len(train), np.nan)
    all_times = np.concatenate([base, times[~held]])
    chances = draw_chances(frame, task.feature_names, params.seed + 1)
    if ordered:
        order = np.argsort(all_times, kind="stable")
        frame, all_times, chances = frame.iloc[order].reset_index(drop=True), all_times[order], chances[order]
    counts = {
        "rows": len(labelled),
        "in_old_holdout": int(tested.sum()),
        "in_training": int(known.sum()),
        "learnt": int((~held).sum()),
        "fresh": int((held & recent).sum()),
        "retired": int((held & ~recent).sum()),
    }
    fresh = rows.loc[held & recent, names].reset_index(drop=True).astype(dict(train.dtypes))
    return Pool(frame, all_times, chances, fresh, counts)


def describe_pool(pool: Pool) -> str:
    """One line for a person."""
    c = pool.counts
    left = c["in_old_holdout"] + c["in_training"] + c["retired"]
    return (
        f"{c['rows']:,} labelled rows: {c['learnt']:,} to learn from, {c['fresh']:,} fresh holdout, {left:,} left out"
    )


def _choose_identity(task: Task) -> tuple[str, ...]:
    # The log keeps features only: a group or identifier that is none of them is not known of a labelled row.
    by = task.split.by
    return by if task.split.kind in ("hash", "group") and set(by) <= set(task.feature_names) else task.feature_names


def _among(rows: pd.DataFrame, others: pd.DataFrame, by: tuple[str, ...]) -> NDArray[np.bool_]:
    one, two = (pd.util.hash_pandas_object(frame[list(by)], index=False).to_numpy() for frame in (rows, others))
    return np.isin(one, two)
