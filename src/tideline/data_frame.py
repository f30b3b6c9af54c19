"""The one shape of a raw frame: the task's columns in order, numbers float64, categories `str`."""

from __future__ import annotations

import hashlib

import pandas as pd

from tideline.contracts import Column, Task, TidelineError


def all_columns(task: Task) -> tuple[Column, ...]:
    """The columns of a raw frame: features, extra, target."""
    return (*task.columns, *task.extra, task.target)


def column_names(task: Task) -> list[str]:
    """Their names, in order."""
    return [column.name for column in all_columns(task)]


def conform(task: Task, frame: pd.DataFrame) -> pd.DataFrame:
    """The task's columns in order (features, extra, target): numbers and dates float64, categories pandas `str`.

    Dates may be datetimes, ISO text or days since 1970-01-01. Text that is no number is left as it is, for
    validation to name. Raises TidelineError for a missing column, or one that the task does not know.
    """
    names = column_names(task)
    if lacking := [name for name in names if name not in frame]:
        raise TidelineError(f"data of {task.name} lacks the columns {lacking}; it has {list(frame.columns)}")
    if unknown := [name for name in frame if name not in names and name not in task.dropped]:
        raise TidelineError(
            f"data of {task.name} has the columns {unknown} that tasks/{task.name}.py does not know; "
            "add them to its columns, or to `dropped` with the reason"
        )
    return pd.DataFrame({column.name: _convert(frame[column.name], column) for column in all_columns(task)})


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


def hash_frame(frame: pd.DataFrame) -> str:
    """sha256 of a frame's content: names, types and values in order; does not depend on the file format's version."""
    digest = hashlib.sha256()
    for name in frame:
        digest.update(f"{name}:{frame[name].dtype}:".encode())
        digest.update(pd.util.hash_pandas_object(frame[name], index=False).to_numpy().astype("<u8").tobytes())
    return digest.hexdigest()
