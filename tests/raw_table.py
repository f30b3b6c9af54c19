"""A small table with a column of each kind, the task that states its rules, and ways to break it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from tideline.contracts import Column, Severity, Source, Split, Task
from tideline.layout import Layout


def make_task(severity: dict[str, Severity] | None = None, **rows: tuple[int, int]) -> Task:
    columns = (
        Column("id", "integer", unique=True),
        Column("day", "date", 15_000, 16_000),
        Column("size", "number", 0, 10, missing=0.1, unit="m", severity=severity or {}),
        Column("kind", "category", categories=("a", "b"), missing=0.5),
    )
    return Task(
        name="small",
        title="Small",
        problem="regression",
        source=Source(),
        columns=columns,
        target=Column("y", "number", 0),
        split=Split("hash", by=("id",)),
        features=(),
        rows=rows.get("rows", (50, 150)),
    )


def make_rows(n: int = 100) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": np.arange(n, dtype=float),
            "day": rng.integers(15_000, 16_000, n).astype(float),
            "size": rng.uniform(0, 10, n),
            "kind": pd.Series(rng.choice(["a", "b"], n), dtype="str"),
            "y": rng.uniform(0, 1, n),
        }
    )


def put(frame: pd.DataFrame, layout: Layout) -> None:
    layout.raw.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(layout.raw / "data.parquet", index=False)


def set_values(column: str, rows: int, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.copy()
        if isinstance(value, str):
            frame[column] = frame[column].astype("str")
        frame.loc[: rows - 1, column] = value
        return frame

    return change
