"""Tuning and LightGBM on a real Dask cluster of two worker processes, found by its address."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from distributed import Client, LocalCluster

from tests.matrices import ANIMALS, RENTS, few_params, prepare
from tests.wait import wait_for
from tideline import catalog, cluster
from tideline.contracts import Task, TidelineError
from tideline.layout import Layout
from tideline.params import Budget
from tideline.train import train
from tideline.tuning import name_study, tune

MODEL = "lightgbm"
TRIALS = 6


def on_dask(**changes: Any) -> Any:
    return few_params(**{"compute": "dask", "tuning": {MODEL: Budget(TRIALS, 600.0)}, **changes})


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    folder = tmp_path_factory.mktemp("dask")
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "local_directory": str(folder)}
    with LocalCluster(**settings, host="127.0.0.1") as found:
        yield found


@pytest.fixture
def address(workers: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(cluster.ADDRESS, workers.scheduler_address)
    return str(workers.scheduler_address)


def read_trials(layout: Layout, params: Any) -> list[optuna.trial.FrozenTrial]:
    name = name_study(RENTS, params, layout, catalog.get_model(MODEL))
    return optuna.load_study(study_name=name, storage=f"sqlite:///{layout.studies / f'{MODEL}.db'}").get_trials()


def test_an_address_where_nobody_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:  # bound, not listening
        held.bind(("127.0.0.1", 0))
        place = f"tcp://127.0.0.1:{held.getsockname()[1]}"
        monkeypatch.setenv(cluster.ADDRESS, place)
        monkeypatch.setattr(cluster, "PATIENCE", 1.0)
        with (
            pytest.raises(TidelineError, match=rf"no Dask scheduler answers at {place}"),
            cluster.open_cluster(on_dask()),
        ):
            pytest.fail("there is no cluster")


def test_a_cluster_of_no_workers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cluster.ADDRESS, raising=False)
    with pytest.raises(TidelineError, match="workers is 0"), cluster.open_cluster(on_dask(workers=0)):
        pytest.fail("there is no cluster")


@pytest.mark.slow
def test_trials_side_by_side_search_as_well_and_a_worker_may_die(
    tmp_path: Path, address: str, workers: LocalCluster
) -> None:
    layout, params = prepare(tmp_path, RENTS), on_dask()
    done = threading.Event()
    killed: list[int] = []

    def kill_one() -> None:
        with Client(address) as client:
            wait_for(lambda: any(client.processing().values()), 120)
            killed.append(client.run(os.getpid).popitem()[1])
            os.kill(killed[0], signal.SIGKILL)
        done.set()

    killer = threading.Thread(target=kill_one)
    killer.start()
    tune(RENTS, params, layout, MODEL)
    killer.join()
    assert done.is_set() and killed
    trials = read_trials(layout, params)
    assert [t.state.is_finished() for t in trials] == [True] * TRIALS
    best = json.loads((layout.tune(MODEL) / "best.json").read_text())
    assert best["trials"] == TRIALS and best["score"] <= trials[0].value  # the defaults come first
    begun = [t.datetime_start for t in trials]
    ended = [t.datetime_complete for t in trials]
    pairs = range(0, TRIALS, 2)
    assert all(begun[i + 1] < ended[i] for i in pairs)  # two at a time
    assert all(begun[i + 2] >= max(ended[i], ended[i + 1]) for i in pairs[:-1])  # the search learns from both
    tune(RENTS, params, layout, MODEL)
    assert len(read_trials(layout, params)) == TRIALS


@pytest.mark.slow
@pytest.mark.parametrize("task", [RENTS, ANIMALS], ids=lambda t: t.problem)
def test_lightgbm_on_the_cluster_scores_as_in_one_process(tmp_path: Path, address: str, task: Task) -> None:
    scores = {}
    for compute in ("local", "dask"):
        layout, params = prepare(tmp_path / compute, task), on_dask(compute=compute, tuning={})
        tune(task, params, layout, MODEL)
        train(task, params, layout, MODEL)
        scores[compute] = json.loads((layout.train(MODEL) / "train.json").read_text())["mean"]
    assert scores["dask"] != scores["local"]  # it did spread
    assert scores["dask"] == pytest.approx(scores["local"], rel=0.1)
