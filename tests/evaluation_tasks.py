"""Two small tasks with everything that evaluation must cope with, and rows for them."""

from __future__ import annotations

from math import inf

import numpy as np
import pandas as pd

from tideline.contracts import Column, Slice, Source, Split, Task

HARBOURS = ("north <quay>", "south", "isle")
SHAPES = ("bar", "cross", "blot")

HARBOUR = Task(
    name="harbour",
    title="Fish landed & sold",
    problem="regression",
    source=Source(licence="public domain"),
    columns=(
        Column("day", "date"),
        Column("east", "number", -10, 10, unit="degrees"),
        Column("north", "number", 50, 60, unit="degrees"),
        Column("crew", "integer", 1, 9, missing=0.2, description="People on board"),
        Column("harbour", "category", categories=HARBOURS),
    ),
    target=Column("catch", "number", 0, 1e6, unit="kg"),
    split=Split("time", by=("day",), cut="2020-08-01"),
    features=(),
    slices=(
        Slice("harbour", "harbour"),
        Slice("crew", "crew", bins=(-inf, 3, inf), labels=("small", "large")),
    ),
    map=("east", "north"),
)

STAMPS = Task(
    name="stamps",
    title="Stamps of 4x4 cells",
    problem="classification",
    source=Source(),
    columns=tuple(Column(f"cell_{i}", "number", 0, 9) for i in range(16)),
    target=Column("shape", "category", categories=SHAPES),
    classes=SHAPES,
    split=Split("stratified", by=("shape",)),
    features=(),
    slices=(Slice("shape", "shape"),),
)


def make_harbour(n: int = 900) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and test rows of HARBOUR, in time order."""
    generator = np.random.default_rng(11)
    crew = generator.integers(1, 10, n).astype(float)
    place = generator.integers(0, 3, n)
    frame = pd.DataFrame({
        "day": 18262.0 + np.sort(generator.integers(0, 365, n)),
        "east": generator.uniform(-4, 4, n),
        "north": generator.uniform(52, 58, n),
        "crew": np.where(generator.random(n) < 0.1, np.nan, crew),
        "harbour": pd.Series(np.array(HARBOURS, dtype=object)[place], dtype="str"),
    })  # fmt: skip
    frame["catch"] = 400 + 90 * crew + 120 * place + 40 * frame["east"] + generator.normal(0, 60, n)
    cut = int((frame["day"] < 18262 + 213).sum())
    return frame.iloc[:cut].reset_index(drop=True), frame.iloc[cut:].reset_index(drop=True)


def make_stamps(n: int = 600) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and test rows of STAMPS."""
    generator = np.random.default_rng(12)
    cross, bar = np.eye(4) + np.eye(4)[::-1], np.zeros((4, 4))
    bar[1] = 1
    codes = generator.integers(0, 3, n)
    ink = np.stack([bar, cross, np.full((4, 4), 0.5)])[codes].reshape(n, 16) * 6
    frame = pd.DataFrame(
        np.clip(ink + generator.normal(0, 3.2, (n, 16)), 0, 9), columns=[f"cell_{i}" for i in range(16)]
    )
    frame["shape"] = pd.Series(np.array(SHAPES, dtype=object)[codes], dtype="str")
    return frame.iloc[: n // 2].reset_index(drop=True), frame.iloc[n // 2 :].reset_index(drop=True)
