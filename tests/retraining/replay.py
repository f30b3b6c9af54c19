"""Puts rows of a task into a prediction log as if a server had answered them, with what turned out to be true."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pandas as pd

from tideline.contracts import Task
from tideline.predlog import Label, Record, Store, mint_ids

START = 1_700_000_000_000_000  # µs
SECOND = 1_000_000


def log_rows(
    store: Store,
    task: Task,
    frame: pd.DataFrame,
    version: str,
    start: int = START,
    labels: bool = True,
    role: Any = "champion",
    step: int = SECOND,
) -> list[str]:
    """Predictions `step` µs apart, labelled an hour after the last; their ids."""
    ids = mint_ids(len(frame))
    rows = [to_features(task, row) for row in frame[list(task.feature_names)].to_dict("records")]
    answer: dict[str, Any] = {"prediction": 1.0}
    if task.problem == "classification":
        share = 1 / len(task.classes)
        answer = {"predicted_class": task.classes[0], "probabilities": dict.fromkeys(task.classes, share)}
    store.append([
        Record(name, name, start + i * step, task.name, version, role, row, **answer)
        for i, (name, row) in enumerate(zip(ids, rows, strict=True))
    ])  # fmt: skip
    if labels:
        values = frame[task.target.name].tolist()
        store.record_labels(
            [Label(name, value) for name, value in zip(ids, values, strict=True)],
            now=start + (len(frame) - 1) * step + 3600 * SECOND,
        )
    return ids


def to_features(task: Task, row: dict[Any, Any]) -> dict[str, Any]:
    """A raw row as a client sends it: ISO dates, whole numbers, null for what is missing."""
    sent: dict[str, Any] = {}
    for column in task.columns:
        value = row[column.name]
        if pd.isna(value):
            sent[column.name] = None
        elif column.kind == "date":
            sent[column.name] = str(date(1970, 1, 1) + timedelta(days=int(value)))
        elif column.kind == "integer":
            sent[column.name] = int(value)
        else:
            sent[column.name] = value
    return sent
