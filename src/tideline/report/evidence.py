"""What a report is made of: everything that was measured, in one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tideline.contracts import Manifest, Task
from tideline.predictor import Prediction


@dataclass(frozen=True)
class Contender:
    """One trained model on the leaderboard.

    `scores` are those of the folds (lower is better), `refused` says why it is out of the contest ("" if it is not),
    `curve` holds loss by round or epoch under "train" and "validation".
    """

    name: str
    family: str
    mean: float
    std: float
    scores: tuple[float, ...]
    metric: str
    seconds: float
    device: str = ""
    refused: str = ""
    accuracy: float | None = None
    parity: float | None = None
    curve: Mapping[str, tuple[float, ...]] | None = None
    weights: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Evidence:
    """The winner on the test rows, and how it got there.

    `metrics` is the content of metrics.json. `actual` is (n,): target values, or class numbers. `frame` holds the
    test rows. `request` and `answer` are one served row and what the model says to it.
    """

    task: Task
    manifest: Manifest
    metrics: Mapping[str, Any]
    frame: pd.DataFrame
    actual: np.ndarray
    prediction: Prediction
    contenders: tuple[Contender, ...]
    split: Mapping[str, Any]
    validation: Mapping[str, Any]
    request: Mapping[str, Any]
    answer: Mapping[str, Any]

    @property
    def winner(self) -> str:
        """Name of the selected model."""
        return self.manifest.model

    @property
    def simulated(self) -> bool:
        """True if any of the data is made up."""
        return bool(self.manifest.provenance.get("simulated", False))
