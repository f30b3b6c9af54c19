"""A project of homes with a champion, a log of what came after it, and a graph that takes seconds.

The graph is the real split, selection and bundle stages around a law written down as ONNX; training is left out.
Run: python -m tests.retraining.small_project ROOT SLOPE FILE [SHARE]   retrains by hand; the graph waits until FILE is.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from tests.retraining.homes import FIRST, HOMES, make_homes
from tests.retraining.replay import SECOND, START, log_rows
from tests.retraining.test_split import CUT, prepare
from tests.small_task import ROOT, ship, small_params, write
from tideline.contracts import Task
from tideline.layout import Layout
from tideline.params import SplitOverrides
from tideline.pointer import read_pointer
from tideline.predlog import Store, open_store
from tideline.registry import promote
from tideline.retraining.flight import InFlightError
from tideline.retraining.run import Outcome, Request, retrain
from tideline.split import split

BASE = small_params()
CHOICE = replace(BASE.retraining.history, windows=(30.0,), half_lives=(), block_days=8.0)
PARAMS = replace(
    BASE,
    split=SplitOverrides({"homes": CUT}, {}),
    retraining=replace(BASE.retraining, labels=100, fresh_rows=20, fresh_days=60.0, history=CHOICE),
)
NOW = START + 10_000 * SECOND
CHANGED = make_homes(60, 10, change=0, first=FIRST + 130, seed=7)  # large homes cost 300 more
BETTER, SAME = 4.8, 3.0  # slopes of a law: the best straight line after the change, and the champion's


def build(root: Path) -> Layout:
    """Champion v0001, which knows the world before the change."""
    layout = prepare(root, HOMES, make_homes(130, 10))
    record = {"source": "folder", "simulated": False, "rows": 1300, "sha256": "d" * 64, "origin": "x", "content": ""}
    write(layout.raw / "manifest.json", record)
    write(layout.features / "features.json", {"names": ["x"], "hash": "f" * 64})
    (root / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    make_graph(SAME)(HOMES, layout)
    assert promote(HOMES, PARAMS, layout).accepted
    return layout


def make_graph(slope: float, wait_for: Path | None = None) -> Callable[[Task, Layout], None]:
    def graph(task: Task, layout: Layout) -> None:
        while wait_for is not None and not wait_for.exists():
            time.sleep(0.02)
        split(task, PARAMS, layout)
        train = pd.read_parquet(layout.split / "train.parquet")
        np.savez(layout.features / "matrices.npz", y=train["price"].to_numpy(np.float64))
        shutil.rmtree(layout.candidate, ignore_errors=True)
        ship(layout, task, slope)

    return graph


def open_log(layout: Layout) -> Store:
    return open_store(f"sqlite:///{layout.root}/log.db")


def log_changed(layout: Layout, frame: pd.DataFrame = CHANGED) -> None:
    pointer = read_pointer(layout)
    assert pointer is not None
    with open_log(layout) as store:
        log_rows(store, HOMES, frame, pointer.version)


def ask(
    layout: Layout,
    slope: float = BETTER,
    reason: str | None = "test",
    wait_for: Path | None = None,
    canary: float = 0.0,
) -> Outcome:
    """Retrain."""
    with open_log(layout) as store:
        request = Request(reason, canary=canary)
        return retrain(HOMES, PARAMS, layout, store, request, NOW, make_graph(slope, wait_for))


if __name__ == "__main__":
    try:
        share = float(sys.argv[4]) if sys.argv[4:] else 0.0
        print(
            ask(Layout("homes", Path(sys.argv[1])), float(sys.argv[2]), wait_for=Path(sys.argv[3]), canary=share).name
        )
    except InFlightError as error:
        print(f"in flight: {error}")
