"""What the choice of history is worth: bikes, trained on 2011, retrained at the start of each month of 2012.

Run: python -m benchmarks.history [--months 12], in a project that has fetched bikes (`tideline fetch bikes`)

Every row: RMSE over the months of 2012, each predicted by the model that was trained just before it. Fixed histories,
then the choice of params.yaml (retraining.history), made each month from the rows before it alone. The model is the one
that params.yaml names there, with its defaults, on the task's own features.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tideline import catalog
from tideline.contracts import BuildContext
from tideline.families.folds import predict
from tideline.features import build_preprocess, cast_matrix, encode_target, fit_matrix, select_columns
from tideline.history_rows import History, draw_rows
from tideline.layout import Layout
from tideline.params import HistoryChoice, load_params
from tideline.retraining.history import choose_history, list_candidates
from tideline.split_rows import draw_chances

TASK = catalog.get_task("bikes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months", type=int, default=12, help="of 2012, from January on")
    arguments = parser.parse_args()
    params = load_params()
    raw = Layout(TASK.name).raw / "data.parquet"
    if not raw.exists():
        sys.exit(f"no {raw}; fetch it first: tideline fetch {TASK.name}")
    frame = pd.read_parquet(raw).sort_values("dteday", ignore_index=True)
    replay(frame, params.retraining.history, params.seed, arguments.months)


def replay(frame: pd.DataFrame, settings: HistoryChoice, seed: int, months: int) -> None:
    """Print a table."""
    times = frame["dteday"].to_numpy(np.float64)
    chances = draw_chances(frame, TASK.feature_names, seed)
    starts = [float(np.datetime64(f"{2012 + m // 12}-{m % 12 + 1:02d}-01", "D").astype(int)) for m in range(months + 1)]
    periods = list(pairwise(starts))
    first = times < starts[0]
    rest = (times >= starts[0]) & (times < starts[-1])
    print(f"{'history':24s} {'RMSE':>6s}  by month")
    print(f"{'frozen (2011)':24s} {rmse(forecast(frame, settings.model, first, rest)):6.1f}")
    errors: dict[tuple[History, float], NDArray[np.float64]] = {}
    for history in list_candidates(settings):
        for low, high in periods:
            before = (times < low) & draw_rows(history, times, chances, low)
            errors[history, low] = forecast(frame, settings.model, before, (times >= low) & (times < high))
        show(history.name, [errors[history, low] for low, _ in periods])
    start = time.perf_counter()
    chosen = []
    for low, _ in periods:
        past = np.flatnonzero(times < low)
        choice = choose_history(TASK, frame.iloc[past], times[past], chances[past], settings, seed)
        chosen.append((choice.history, low))
    show("chosen by validation", [errors[key] for key in chosen])
    print(f"chosen, month by month: {', '.join(history.name for history, _ in chosen)}")
    print(f"one choice takes {(time.perf_counter() - start) / len(periods):.1f} s")
    best = [min((errors[h, low] for h in list_candidates(settings)), key=rmse) for low, _ in periods]
    show("(best in hindsight)", best)


def forecast(
    frame: pd.DataFrame, model: str, before: NDArray[np.bool_], after: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Errors (rentals) on the rows `after` of a model that learnt from the rows `before`."""
    spec = catalog.get_model(model)
    train, test = frame[before], frame[after]
    y = encode_target(TASK, train)
    preprocess = build_preprocess(TASK)
    X = fit_matrix(preprocess, select_columns(TASK, train), y)
    context = BuildContext(TASK.problem, seed=42, threads=1, device="cpu", time_ordered=True, clip=TASK.clip)
    estimator = spec.build(spec.defaults[TASK.problem], context).fit(X, y)
    held = cast_matrix(preprocess, preprocess.transform(select_columns(TASK, test)))
    return predict(estimator, held, TASK.problem) - encode_target(TASK, test)


def rmse(errors: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(errors**2)))


def show(name: str, months: list[NDArray[np.float64]]) -> None:
    listed = " ".join(f"{rmse(errors):4.0f}" for errors in months)
    print(f"{name:24s} {rmse(np.concatenate(months)):6.1f}  {listed}", flush=True)


if __name__ == "__main__":
    main()
