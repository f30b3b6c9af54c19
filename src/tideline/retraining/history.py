"""Chooses how much of the past to learn from, by validation in time order. A function of values; nothing is written.

Each candidate trains one quick, fixed model (through the task's own feature transforms) on what it would keep of the
rows before a block of time, and is scored on the block; so for the last few blocks. The lowest mean error wins.
Source: R. Hyndman & G. Athanasopoulos, "Forecasting: Principles and Practice" (2021), 5.10, on rolling origins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tideline import catalog
from tideline.contracts import BuildContext, Task
from tideline.history_rows import History, draw_rows
from tideline.params import HistoryChoice

if TYPE_CHECKING:
    import pandas as pd

LEAST_ROWS = 200  # that a candidate must keep before a block, to be scored on it
LEAST_SCORED = 20  # rows of a block


@dataclass(frozen=True)
class Candidate:
    """One history, how many rows it keeps now, and its error on each block (None: too few rows before that block)."""

    history: History
    rows: int
    errors: tuple[float | None, ...]

    @property
    def mean(self) -> float:
        """Mean error over the blocks; infinite if there is none, or one could not be scored."""
        known = [e for e in self.errors if e is not None]
        return sum(known) / len(known) if known and len(known) == len(self.errors) else math.inf


@dataclass(frozen=True)
class Choice:
    """The chosen history, why, and what all candidates came to. blocks: (first, past the last) in days."""

    history: History
    reason: str
    metric: str
    blocks: tuple[tuple[float, float], ...]
    table: tuple[Candidate, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **self.history.to_dict(),
            "reason": self.reason,
            "metric": self.metric,
            "blocks": [list(block) for block in self.blocks],
            "table": [
                {
                    **c.history.to_dict(),
                    "rows": c.rows,
                    "errors": list(c.errors),
                    "mean": c.mean if math.isfinite(c.mean) else None,
                }
                for c in self.table
            ],
        }


def list_candidates(settings: HistoryChoice) -> list[History]:
    """All rows first, then from more to less."""
    windows = [History("window", days) for days in sorted(settings.windows, reverse=True)]
    fading = [History("half-life", days) for days in sorted(settings.half_lives, reverse=True)]
    return [History(), *windows, *fading]


def choose_history(
    task: Task,
    frame: pd.DataFrame,
    times: NDArray[np.float64],
    chances: NDArray[np.float64],
    settings: HistoryChoice,
    seed: int,
    progress: Callable[[], object] = lambda: None,
) -> Choice:
    """The history with the lowest mean error; of equal ones that which keeps more rows.

    frame: rows that may be learnt from, none of a holdout. times: days (n,); NaN is older than all others.
    chances: see `draw_rows`. `progress` is called once a scored block.
    """
    from threadpoolctl import threadpool_limits

    blocks = cut_blocks(times, settings.blocks, settings.block_days)
    metric = "rmse" if task.problem == "regression" else "log_loss"
    end = float(np.nanmax(times)) if np.isfinite(times).any() else 0.0
    known: dict[tuple[int, bytes], float | None] = {}
    table = []
    for history in list_candidates(settings):
        errors = []
        for low, high in blocks:
            scored = (times >= low) & (times < high)
            kept = draw_rows(history, times, chances, low) & ~(times >= low)
            key = (int(scored.argmax()), np.packbits(kept).tobytes())  # two candidates may keep the same rows
            if key not in known:
                enough = kept.sum() >= LEAST_ROWS and scored.sum() >= LEAST_SCORED
                # One thread: small fits wait for each other longer than they work, where cores are shared.
                with threadpool_limits(1):
                    known[key] = score_rows(task, settings.model, frame, kept, scored, seed) if enough else None
                progress()
            errors.append(known[key])
        rows = int(draw_rows(history, times, chances, end).sum())
        table.append(Candidate(history, rows, tuple(errors)))
    return _decide(table, metric, blocks)


def _decide(table: Sequence[Candidate], metric: str, blocks: list[tuple[float, float]]) -> Choice:
    whole = table[0]
    judged = [c for c in table if math.isfinite(c.mean)]
    if not judged:
        reason = (
            "too few rows in time order to compare histories: all rows are used"
            if blocks
            else "the rows have no order in time yet: all of them are used"
        )
        return Choice(whole.history, reason, metric, tuple(blocks), tuple(table))
    best = min(judged, key=lambda c: (c.mean, -c.rows))
    compared = f", all rows {whole.mean:,.4g}" if math.isfinite(whole.mean) and best is not whole else ""
    reason = (
        f"{best.history.name}: lowest mean {metric} of {len(judged)} histories over {len(blocks)} blocks, "
        f"{best.mean:,.4g}{compared}"
    )
    return Choice(best.history, reason, metric, tuple(blocks), tuple(table))


def cut_blocks(times: NDArray[np.float64], count: int, days: float) -> list[tuple[float, float]]:
    """The last `count` blocks of time, the oldest first: of `days` days that have rows each.

    Where fewer than count + 1 such blocks are there, the moments of all rows are cut into count + 1 equal parts, of
    which the first is never scored. Days without rows do not count, so that a gap makes no empty block.
    """
    known = np.sort(times[np.isfinite(times)])
    moments = np.unique(np.floor(known))
    width = max(1, round(days))
    if len(moments) < (count + 1) * width:
        moments = np.unique(known)
        width = len(moments) // (count + 1)
    if width < 1:
        return []
    edges = [*(float(moments[len(moments) - width * i]) for i in range(count, 0, -1)), float(known[-1]) + 1.0]
    return list(pairwise(edges))


def score_rows(
    task: Task, model: str, frame: pd.DataFrame, kept: NDArray[np.bool_], scored: NDArray[np.bool_], seed: int
) -> float:
    """RMSE (target's unit) or log loss on the rows `scored` of a model that learnt from the rows `kept`."""
    from tideline.families.folds import measure, predict
    from tideline.features import build_preprocess, cast_matrix, encode_target, fit_matrix, select_columns

    spec = catalog.get_model(model)
    context = BuildContext(task.problem, len(task.classes), seed, 1, "cpu", task.split.kind == "time", task.clip)
    before, after = frame[kept], frame[scored]
    y = encode_target(task, before)
    preprocess = build_preprocess(task)
    X = fit_matrix(preprocess, select_columns(task, before), y)
    estimator = spec.build(spec.defaults[task.problem], context).fit(X, y)
    held = cast_matrix(preprocess, preprocess.transform(select_columns(task, after)))
    return measure(encode_target(task, after), predict(estimator, held, task.problem))
