"""The housing simulator's broken sensor is never learnt from; its undisturbed rows are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from onnx import TensorProto, helper

from tests.monitoring_data import make_manifest
from tests.retraining.replay import SECOND, START, log_rows
from tests.small_task import small_params
from tideline.bookkeeping import ledger_file, writing
from tideline.bundle import Bundle, write_bundle
from tideline.catalog import get_task
from tideline.champion import champion_bundle, store_version
from tideline.contracts import Task
from tideline.labelled import TIME, read_snapshot
from tideline.layout import Layout
from tideline.ledger import append_entry
from tideline.pointer import Pointer, move_pointer
from tideline.predlog import Store, open_store
from tideline.retraining.collecting import collect_by_hand
from tideline.retraining.quality import inspect_window
from tideline.retraining.run import Request, retrain
from tideline.simulator import make_frame
from tideline.succession import PROMOTED

HOUSING = get_task("housing")
BASE = small_params()
ALL_ROWS = replace(BASE.retraining.history, windows=(), half_lives=(), model="linear")
PARAMS = replace(BASE, retraining=replace(BASE.retraining, history=ALL_ROWS))
LATER = START + 100_000 * SECOND


@pytest.fixture(scope="module")
def raw() -> pd.DataFrame:
    return make_frame(20_640, seed=42)


@pytest.mark.parametrize("rows, seed", [(500, 1), (600, 2)])
def test_what_the_simulator_breaks_is_found_and_what_it_leaves_alone_is_not(
    raw: pd.DataFrame, rows: int, seed: int, tmp_path: Path
) -> None:

    windows = {name: make_frame(rows, seed, name).assign(**{TIME: range(rows)}) for name in ("none", "broken_sensor")}
    assert inspect_window(HOUSING, windows["none"], raw, [], tmp_path) == []
    (reason,) = inspect_window(HOUSING, windows["broken_sensor"], raw, [], tmp_path)
    assert reason.startswith("column 'total_bedrooms', rule missing")


def write_law(path: Path) -> Bundle:
    """price = 40,000 x income + 50,000."""
    inputs = [
        helper.make_tensor_value_info(c.name, TensorProto.STRING if c.is_text else TensorProto.DOUBLE, [None, 1])
        for c in HOUSING.columns
    ]
    given = [helper.make_tensor(n, TensorProto.DOUBLE, [], [v]) for n, v in (("slope", 40_000.0), ("start", 50_000.0))]
    nodes = [
        helper.make_node("Mul", ["median_income", "slope"], ["grown"]),
        helper.make_node("Sum", ["grown", "start"], ["total"]),
        helper.make_node("Cast", ["total"], ["prediction"], to=TensorProto.FLOAT),
    ]
    output = helper.make_tensor_value_info("prediction", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph(nodes, "housing", inputs, [output], given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return write_bundle(path, model.SerializeToString(), make_manifest(), {})


@pytest.fixture
def layout(tmp_path: Path, raw: pd.DataFrame) -> Layout:
    """A champion, and simulated raw rows."""
    layout = Layout("housing", tmp_path)
    layout.raw.mkdir(parents=True)
    raw.to_parquet(layout.raw / "data.parquet", index=False)
    bundle = write_law(layout.bundle)
    with writing(layout):
        version = store_version(layout, bundle)
        entry = append_entry(ledger_file(layout), PROMOTED, version, bundle.digest, (), {})
        move_pointer(layout, Pointer(version, bundle.digest, entry.seq))
    return layout


@pytest.mark.slow
def test_a_broken_sensor_changes_neither_snapshot_nor_champion(layout: Layout) -> None:
    def never(task: Task, layout: Layout) -> None:
        pytest.fail("it was trained on")

    def log(store: Store, scenario: str, seed: int, start: int) -> None:
        log_rows(store, HOUSING, make_frame(550, seed, scenario), champion_bundle(layout).name, start)

    with open_store(f"sqlite:///{layout.root}/log.db") as store:
        log(store, "none", 7, START)
        assert collect_by_hand(HOUSING, PARAMS, layout, store, LATER) == "collected"
        snapshot, champion = read_snapshot(layout), champion_bundle(layout)
        assert snapshot is not None and len(snapshot.frame) == 550
        log(store, "broken_sensor", 8, START + 1_000 * SECOND)
        outcome = retrain(HOUSING, PARAMS, layout, store, Request("test"), LATER, never)
        assert outcome.name == "quarantined" and outcome.facts.labels >= 500, outcome.reasons
        assert collect_by_hand(HOUSING, PARAMS, layout, store, LATER) == "collected"  # nothing new
    after = read_snapshot(layout)
    assert after is not None and after.sha256 == snapshot.sha256 and champion_bundle(layout) == champion
    (window,) = layout.quarantine.iterdir()
    record = json.loads((window / "reasons.json").read_text())
    assert record["rows"] == 550 and "total_bedrooms" in record["reasons"][0]
