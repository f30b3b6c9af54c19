"""Reads what cross-validation, the parity gate and the selection said of each trained model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.report import Contender

BLEND = "blend"


def read_contenders(layout: Layout) -> tuple[Contender, ...]:
    """All models of the selection, in its order: the best first, refused ones last.

    Raises TidelineError if the selection or a model's record is absent, or if nothing was selected from.
    """
    path = layout.selection / "selection.json"
    board = _read(path, f"tideline select {layout.task}")["leaderboard"]
    if not board:
        raise TidelineError(f"{path}: an empty leaderboard; list models in params.yaml and run `dvc repro`")
    return tuple(_join(row, layout) for row in board)


def _join(row: Mapping[str, Any], layout: Layout) -> Contender:
    name = row["model"]
    trained = _read(layout.train(name) / "train.json", f"tideline train {layout.task} {name}")
    curve = trained.get("curve")
    return Contender(
        name=name,
        family=row["family"],
        mean=_number(row["mean"]),
        std=_number(row["std"]),
        scores=tuple(_number(score) for score in row["scores"]),
        metric=row["metric"],
        seconds=float(row["seconds"]),
        device=row["device"],
        refused=row["refused"] or "",
        accuracy=trained.get("accuracy"),
        parity=row["parity"]["max_rel"],
        curve={part: tuple(map(_number, values)) for part, values in curve.items() if values} if curve else None,
        weights=trained["params"]["weights"] if name == BLEND else None,
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _read(path: Path, command: str) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise TidelineError(f"no {path}; run `{command}`, or `dvc repro` for all that lacks") from None
    return record
