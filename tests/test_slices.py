"""Slices: every row in one label, exact edges, and errors that name the slice."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import pandas as pd
import pytest

from tideline.catalog import get_task, names
from tideline.contracts import Column, Slice, Source, Split, Task, TidelineError
from tideline.slices import label_rows, score_slices

TASK = Task(
    name="tides",
    title="Tides",
    problem="regression",
    source=Source(),
    columns=(Column("depth", "number"), Column("bank", "category", categories=("west", "east", "isle"))),
    target=Column("height", "number"),
    split=Split("hash", by=("depth",)),
    features=(),
)
FRAME = pd.DataFrame({"depth": [1.0, 2.0, 2.5, np.nan, 9.0], "bank": ["east", "west", "west", None, "reef"]})


def _labels(part: Slice) -> dict[str, list[int]]:
    return {label: rows.tolist() for label, rows in label_rows(TASK, part, FRAME).items()}


def test_categories_come_in_the_columns_order_then_strangers_then_missing() -> None:
    assert _labels(Slice("bank", "bank")) == {"west": [1, 2], "east": [0], "reef": [4], "missing": [3]}


def test_bins_are_closed_to_the_right() -> None:
    part = Slice("depth", "depth", bins=(-inf, 2, 3, inf), labels=("shallow", "middle", "deep"))
    assert _labels(part) == {"shallow": [0, 1], "middle": [2], "deep": [4], "missing": [3]}


def test_bins_name_themselves_and_empty_ones_are_left_out() -> None:
    assert list(_labels(Slice("depth", "depth", bins=(-inf, 2, 2.5, 5, inf)))) == [
        "up to 2",
        "2 to 2.5",
        "over 5",
        "missing",
    ]


def test_values_without_bins_are_labels_in_their_order() -> None:
    assert list(_labels(Slice("depth", "depth"))) == ["1", "2", "2.5", "9", "missing"]


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (Slice("odd", "width"), "no column 'width'"),
        (Slice("odd", "depth", bins=(0, 3)), r"1 values lie outside .* 9;"),
        (Slice("odd", "depth", bins=(0, 3, inf), labels=("one",)), "3 edges make 2 bins, it has 1 labels"),
    ],
)
def test_a_slice_that_does_not_fit_is_named(part: Slice, reason: str) -> None:
    with pytest.raises(TidelineError, match=rf"slice 'odd' of tasks/tides.py: .*{reason}"):
        label_rows(TASK, part, FRAME)


def test_scores_get_the_rows_of_their_label() -> None:
    task = replace(TASK, slices=(Slice("bank", "bank"),))
    found = score_slices(task, FRAME, lambda rows: {"sum": float(rows.sum())})
    assert found["bank"]["west"] == {"n": 2, "sum": 3.0}
    assert sum(scores["n"] for scores in found["bank"].values()) == len(FRAME)


@pytest.mark.parametrize("name", names("tasks"))
def test_slices_of_each_task_name_columns_that_its_rows_have(name: str) -> None:
    task = get_task(name)
    known = {c.name for c in (*task.columns, *task.extra, task.target)}
    for part in task.slices:
        assert part.by in known
        assert not part.labels or len(part.labels) == len(part.bins) - 1
