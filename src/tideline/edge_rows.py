"""Raw rows at the edges of what a task may meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tideline.contracts import Task

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = "__never seen__"


def make_edge_rows(task: Task, frame: pd.DataFrame) -> tuple[list[str], pd.DataFrame]:
    """Raw rows at the edges, each with a name: missing values, an unknown category, extremes of every column.

    All start from the training row that lies in the middle of the target's order.
    """
    import pandas as pd

    start = frame.sort_values(task.target.name, kind="stable").iloc[[len(frame) // 2]]
    names, rows = [], []

    def add(name: str, changes: dict[str, Any]) -> None:
        row = start.copy()
        for column, value in changes.items():
            row[column] = value
        names.append(name)
        rows.append(row)

    smallest, largest = {}, {}
    for column in task.columns:
        if column.is_text:
            add(f"{column.name} unknown", {column.name: UNKNOWN})
            for category in column.categories:
                add(f"{column.name} {category}", {column.name: category})
        else:
            seen = frame[column.name]
            smallest[column.name] = float(seen.min() if column.minimum is None else min(seen.min(), column.minimum))
            largest[column.name] = float(seen.max() if column.maximum is None else max(seen.max(), column.maximum))
            add(f"{column.name} least", {column.name: smallest[column.name]})
            add(f"{column.name} most", {column.name: largest[column.name]})
        if column.nullable:
            add(f"{column.name} missing", {column.name: None if column.is_text else np.nan})
    add("all least", smallest)
    add("all most", largest)
    nullable = {c.name: None if c.is_text else np.nan for c in task.columns if c.nullable}
    if nullable:
        add("all nullable missing", nullable)
    kinds = {name: kind for name, kind in frame.dtypes.items() if kind.kind not in "iub"}
    return names, pd.concat(rows, ignore_index=True).astype(kinds)
