"""References and windows for the monitor's tests: housing rows and a model that is fitted to them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, cross_val_predict

from tests.small_task import small_params
from tideline.catalog import get_task
from tideline.contracts import Manifest
from tideline.error_model import fit_error_model
from tideline.monitor.judge import judge_window
from tideline.monitor.records import WindowVerdict
from tideline.monitor.reference import Reference
from tideline.monitor.window import Batch
from tideline.predictor import columns_from_frame
from tideline.sketch import build_sketch, sketch_numbers

TASK = get_task("housing")
SETTINGS = small_params().monitoring
SECOND = 1_000_000


def make_manifest() -> Manifest:
    columns, target = TASK.columns, TASK.target
    return Manifest("housing", "", "regression", "law", "", columns, target, (), TASK.clip, {}, {}, {}, (), {}, {})


class Watched:
    """A model of housing, its reference, and windows of rows that it answers."""

    def __init__(self, train: pd.DataFrame) -> None:
        X, y = self._matrix(train), train[TASK.target.name].to_numpy(np.float64)
        build = LinearRegression()
        blind = cross_val_predict(build, X, y, cv=KFold(3, shuffle=True, random_state=0))
        self.model = build.fit(X, y)
        columns = columns_from_frame(TASK, train)
        errors = np.abs(blind - y)
        self.sketch: dict[str, Any] = build_sketch(TASK, columns, y, blind, seed=42)
        self.sketch["error"] = sketch_numbers(errors)
        self.sketch["error_model"] = asdict(fit_error_model(TASK, columns, blind, errors, seed=42))
        self.reference = Reference.from_sketch(make_manifest(), self.sketch)

    @staticmethod
    def _matrix(frame: pd.DataFrame) -> np.ndarray:
        numbers = frame.drop(columns=["ocean_proximity", "total_bedrooms", TASK.target.name]).to_numpy(np.float64)
        return np.column_stack([numbers, frame["ocean_proximity"] == "INLAND"])

    def answer(self, frame: pd.DataFrame, start: int = 0, labels: bool = False) -> Batch:
        predicted = self.model.predict(self._matrix(frame)) if len(frame) else np.empty(0)
        actual = frame[TASK.target.name].to_numpy(np.float64)
        return Batch(
            columns_from_frame(TASK, frame),
            {"prediction": predicted},
            np.abs(predicted - actual) if labels else None,
            times=(start, start + SECOND * (len(frame) - 1)),
        )

    def judge(
        self, frame: pd.DataFrame, earlier: list[WindowVerdict] | None = None, labels: bool = False, **changes: Any
    ) -> WindowVerdict:
        """The verdict on rows that came after those of the earlier verdicts, one a second."""
        from dataclasses import replace

        start = max((v.last or 0 for v in earlier or []), default=0) + SECOND
        window = self.reference.open_window(seed=1)
        window.add(self.answer(frame, start, labels))
        return judge_window(self.reference, window, replace(SETTINGS, **changes), "v0001-test", start, earlier or [])
