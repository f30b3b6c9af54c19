"""The search: its budget, its seed, and that a killed one continues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.matrices import RENTS, few_params, prepare
from tideline import catalog
from tideline.layout import Layout
from tideline.params import Budget
from tideline.tuning import name_study, tune

MODEL = "decision_tree"
TRIALS = 8


def params_with(trials: int = TRIALS, seconds: float = 300.0, **changes: Any) -> Any:
    return few_params(tuning={MODEL: Budget(trials, seconds)}, **changes)


def read_best(layout: Layout) -> dict[str, Any]:
    best: dict[str, Any] = json.loads((layout.tune(MODEL) / "best.json").read_text())
    return best


def read_trials(layout: Layout) -> list[optuna.trial.FrozenTrial]:
    storage = f"sqlite:///{layout.studies / f'{MODEL}.db'}"
    name = name_study(RENTS, params_with(), layout, catalog.get_model(MODEL))
    return optuna.load_study(study_name=name, storage=storage).get_trials()


def test_a_model_without_a_budget_keeps_its_defaults(tmp_path: Path) -> None:
    layout = prepare(tmp_path, RENTS)
    tune(RENTS, few_params(), layout, MODEL)
    defaults = dict(catalog.get_model(MODEL).defaults["regression"])
    assert read_best(layout) == {"params": defaults, "trials": 0, "source": "defaults", "score": None}
    assert not layout.studies.exists()


def test_a_search_is_seeded_and_no_worse_than_the_defaults(tmp_path: Path) -> None:
    layouts = [prepare(tmp_path / name, RENTS) for name in ("a", "b")]
    for layout in layouts:
        tune(RENTS, params_with(), layout, MODEL)
    first, second = (read_best(layout) for layout in layouts)
    assert first == second
    assert first["source"] == "search"
    assert first["trials"] == TRIALS
    assert set(first["params"]) == set(catalog.get_model(MODEL).defaults["regression"])
    assert first["score"] <= read_trials(layouts[0])[0].value


def test_a_finished_study_runs_nothing_again_and_a_larger_budget_only_the_rest(tmp_path: Path) -> None:
    layout = prepare(tmp_path, RENTS)
    tune(RENTS, params_with(3), layout, MODEL)
    tune(RENTS, params_with(3), layout, MODEL)
    assert len(read_trials(layout)) == 3
    tune(RENTS, params_with(5), layout, MODEL)
    assert len(read_trials(layout)) == 5


def test_the_seconds_are_kept(tmp_path: Path) -> None:
    layout = prepare(tmp_path, RENTS)
    tune(RENTS, params_with(500, seconds=0.5), layout, MODEL)
    assert 1 <= read_best(layout)["trials"] < 500


def test_other_features_start_another_study(tmp_path: Path) -> None:
    layout = prepare(tmp_path, RENTS)
    spec = catalog.get_model(MODEL)
    before = name_study(RENTS, params_with(), layout, spec)
    (layout.features / "features.json").write_text(json.dumps({"names": ["x"], "hash": "0" * 64}))
    assert name_study(RENTS, params_with(), layout, spec) != before


RUNNER = """
import sys, time
from pathlib import Path
from tests.matrices import RENTS
from tests.test_tuning import MODEL, params_with
from tideline import trials, tuning
from tideline.layout import Layout
measure, calls = trials.measure, []
def slow(y, out):
    calls.append(1)
    if len(calls) > 8:
        print("in the middle of a trial", flush=True)
        time.sleep(60)
    return measure(y, out)
trials.measure = slow
tuning.tune(RENTS, params_with(), Layout("rent", Path(sys.argv[1])), MODEL)
"""


def test_a_killed_search_continues_to_the_same_end(tmp_path: Path) -> None:
    layout, whole = prepare(tmp_path / "killed", RENTS), prepare(tmp_path / "whole", RENTS)
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"}
    process = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(layout.root)], stdout=subprocess.PIPE, text=True, env=environment, cwd=root
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "in the middle" in line:
            break
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    states = [trial.state for trial in read_trials(layout)]
    assert optuna.trial.TrialState.RUNNING in states
    finished = sum(state.is_finished() for state in states)
    assert 0 < finished < TRIALS

    tune(RENTS, params_with(), layout, MODEL)
    after = read_trials(layout)
    assert len(after) == TRIALS + 1  # the killed trial is given up and run anew
    assert after[finished].state == optuna.trial.TrialState.FAIL
    tune(RENTS, params_with(), whole, MODEL)
    assert read_best(layout) == read_best(whole)
    kept = [trial.params for trial in after if trial.state != optuna.trial.TrialState.FAIL]
    assert kept == [trial.params for trial in read_trials(whole)]


def test_a_bad_space_is_named() -> None:
    from tideline.contracts import TidelineError
    from tideline.tuning import _distribution

    with pytest.raises(TidelineError, match="depth"):
        _distribution("depth", {"low": 1})
