"""The feature matrix: from raw columns, honest in every fold, the same in ONNX, and searchable."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest

from tideline import catalog
from tideline.contracts import Block, Column, Source, Split, Step, Task, TidelineError
from tideline.feature_graph import compare_matrices, export_preprocess, make_feed, transform_rows
from tideline.features import (
    build_features,
    build_preprocess,
    encode_target,
    iterate_folds,
)
from tideline.layout import Layout
from tideline.params import Params, load_params
from tideline.preparation import collect_space, search_preparation

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = (
    Column("longitude", "number", -124, -114),
    Column("latitude", "number", 32, 42),
    Column("rooms", "integer", 1, 1_000, missing=0.2),
    Column("income", "number", 0.5, 15),
    Column("day", "date"),
    Column("sea side", "category", categories=("INLAND", "ISLAND", "NEAR BAY"), missing=0.1),
)
PLACE = ("longitude", "latitude")
NEAR = {
    "coordinates": {"longitude": 88.9, "latitude": 111.2},
    "per": "income",
    "similar": {"income": 0.25},
    "logged": ["income"],
    "ks": [3, 10],
    "make_up": [5],
}
HOMES = Task(
    name="homes", title="Homes", problem="regression", source=Source(), columns=COLUMNS,
    target=Column("price", "number", 0, 1e6), split=Split("stratified", by=("income",), bins=(0, 5, 20)),
    features=(
        Block("place", PLACE, (Step("rotate", {"angles": [30, 60]}, {"angles": ((30, 60), (45,))}),)),
        Block("size", ("rooms", "income"), (
            Step("impute_median"), Step("ratios", {"ratios": {"rooms_by_income": ("rooms", "income")}, "keep": True}),
            Step("log", {"columns": ["rooms"]}), Step("standard_scale"),
        )),
        Block("when", ("day",), (Step("date_parts"),)),
        Block("sea", ("sea side",), (Step("one_hot"),)),
        Block("near", (*PLACE, "income"), (Step("neighbours", NEAR),)),
    ),
)  # fmt: skip
SIDES = dataclasses.replace(
    HOMES, name="sides", problem="classification", target=Column("side", "category"), classes=("west", "east"),
    features=HOMES.features[:4],
)  # fmt: skip


def make_frame(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    income = random.uniform(0.5, 15, rows)
    longitude, latitude = random.uniform(-124, -114, rows).round(1), random.uniform(32, 42, rows).round(1)
    frame = pd.DataFrame(
        {
            "longitude": longitude,
            "latitude": latitude,
            "rooms": np.where(random.random(rows) < 0.1, np.nan, random.integers(1, 1_000, rows)),
            "income": income,
            "day": random.integers(10_000, 20_000, rows).astype(np.float64),
            "sea side": pd.array(random.choice(["INLAND", "NEAR BAY", None], rows), dtype="str"),
            "price": 1e4 * income * np.exp((latitude - 37) / 5) + random.uniform(0, 1e3, rows),
        }
    )
    return frame.assign(side=pd.array(np.where(longitude < -119, "west", "east"), dtype="str"))


def write_split(task: Task, root: Path, frame: pd.DataFrame, folds: np.ndarray) -> Layout:
    layout = Layout(task.name, root)
    layout.split.mkdir(parents=True)
    frame.to_parquet(layout.split / "train.parquet", index=False)
    np.save(layout.split / "folds.npy", folds)
    (layout.split / "split.json").write_text(json.dumps({"hash": "5" * 64}))
    return layout


def give_budget(trials: int) -> Params:
    params = load_params(ROOT / "params.yaml")
    budget = dataclasses.replace(params.preparation, trials=trials, seconds=600.0)
    return dataclasses.replace(params, preparation=budget, threads=1)


def run_stages(task: Task, root: Path, folds: np.ndarray | None = None, trials: int = 0, rows: int = 300) -> Layout:
    frame = make_frame(rows)
    numbers = (np.arange(rows) % 3).astype(np.int8) if folds is None else folds
    layout = write_split(task, root, frame, numbers)
    search_preparation(task, give_budget(trials), layout)
    build_features(task, give_budget(trials), layout)
    return layout


def read_matrices(layout: Layout) -> dict[str, np.ndarray]:
    with np.load(layout.features / "matrices.npz") as file:  # allow_pickle is off
        return dict(file)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return run_stages(HOMES, tmp_path_factory.mktemp("homes"))


def test_matrices_hold_all_rows_and_each_fold(homes: Layout) -> None:
    arrays = read_matrices(homes)
    names = json.loads((homes.features / "features.json").read_text())["names"]
    assert arrays["X"].shape == (300, len(names))
    assert arrays["X"].dtype == np.float32
    assert arrays["y"].dtype == np.float64
    for i in range(3):
        fit, val = arrays[f"idx_fit_{i}"], arrays[f"idx_val_{i}"]
        assert sorted([*fit, *val]) == list(range(300))
        assert arrays[f"X_fit_{i}"].shape == (200, len(names))
        assert arrays[f"X_val_{i}"].shape == (100, len(names))
    assert "sea__sea side=ISLAND" in names, "a declared category that no row has"
    assert "sea__sea side=" in names, "missing is a category of a nullable column"


def test_graph_gives_what_scikit_learn_gives_from_raw_columns(homes: Layout) -> None:
    model = onnx.load(homes.features / "preprocess.onnx")
    assert model.ir_version == 10
    assert {o.domain: o.version for o in model.opset_import} == {"": 21, "ai.onnx.ml": 3}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == list(HOMES.feature_names)
    assert {i.type for i in session.get_inputs()} == {"tensor(double)", "tensor(string)"}
    rows = make_frame(400, seed=9)
    rows.loc[:5, "sea side"] = "UNKNOWN"
    found = session.run(["X"], make_feed(HOMES, rows))[0]
    preprocess = joblib.load(homes.features / "preprocess.joblib")
    expected = preprocess.transform(rows[list(HOMES.feature_names)]).astype(np.float32)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    alone = session.run(["X"], make_feed(HOMES, rows.iloc[[7]]))[0]
    np.testing.assert_allclose(alone, found[[7]], rtol=1e-6, atol=1e-6)


def test_both_sides_are_kept_for_all_training_and_edge_rows(homes: Layout) -> None:
    with np.load(homes.features / "transformed.npz") as file:
        framework, graph, edges = file["framework"], file["graph"], file["edges"]
    assert framework.shape == graph.shape == (300 + len(edges), read_matrices(homes)["X"].shape[1])
    assert "all most" in edges
    np.testing.assert_allclose(graph, framework, rtol=1e-6, atol=1e-6)
    model = onnx.load(homes.features / "preprocess.onnx")
    rows = pd.read_parquet(homes.split / "train.parquet")
    np.testing.assert_array_equal(transform_rows(model, make_feed(HOMES, rows), 1), graph[:300])


def test_a_differing_or_missing_cell_names_feature_and_row() -> None:
    framework = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert compare_matrices(HOMES, ["a", "b"], ["r0", "r1", "r2"], framework, framework.copy()) == 0.0
    for value in (2.1, np.nan):
        graph = framework.copy()
        graph[1, 0] = value
        with pytest.raises(TidelineError, match=r"feature 'a', r1: scikit-learn .*2\.0"):
            compare_matrices(HOMES, ["a", "b"], ["r0", "r1", "r2"], framework, graph)


def test_same_input_gives_the_same_bytes(homes: Layout, tmp_path: Path) -> None:
    again = run_stages(HOMES, tmp_path)
    for name in ("features.json", "preprocess.onnx", "matrices.npz"):
        first, second = ((layout.features / name).read_bytes() for layout in (homes, again))
        if name.endswith("npz"):
            a, b = read_matrices(homes), read_matrices(again)
            assert all(np.array_equal(a[k], b[k], equal_nan=True) for k in a | b)
        else:
            assert first == second, name


def test_a_folds_preparation_never_sees_its_validation_rows(homes: Layout, tmp_path: Path) -> None:
    frame, folds = make_frame(), (np.arange(300) % 3).astype(np.int8)
    frame.loc[folds == 0, "price"] *= 7
    frame.loc[folds == 0, ["rooms", "income"]] *= 3
    layout = write_split(HOMES, tmp_path, frame, folds)
    search_preparation(HOMES, give_budget(0), layout)
    build_features(HOMES, give_budget(0), layout)
    known, changed = read_matrices(homes), read_matrices(layout)
    np.testing.assert_array_equal(known["X_fit_0"], changed["X_fit_0"])
    assert not np.array_equal(known["X_fit_1"], changed["X_fit_1"])


def test_classes_become_codes_in_the_tasks_order(tmp_path: Path) -> None:
    layout = run_stages(SIDES, tmp_path)
    y = read_matrices(layout)["y"]
    assert y.dtype == np.int64
    np.testing.assert_array_equal(y, (make_frame()["side"] == "east").astype(int))
    with pytest.raises(TidelineError, match="class 'north' is not among west, east"):
        encode_target(SIDES, make_frame().assign(side="north"))


def test_time_ordered_folds_learn_from_strictly_earlier_rows(tmp_path: Path) -> None:
    split = Split("time", by=("day",), cut="2030-01-01")
    task = dataclasses.replace(HOMES, name="late", split=split, features=HOMES.features[:4])
    frame = make_frame().sort_values("day", ignore_index=True)
    frame.loc[150, "day"] = frame.loc[149, "day"]  # one moment on both sides of a fold's edge
    folds = np.repeat(np.array([-1, 0, 1], np.int8), [150, 75, 75])
    first, second = iterate_folds(task, frame, folds)
    assert frame["day"][first.fit].max() < frame["day"][first.val].min()
    assert 149 not in first.fit
    assert set(second.fit) == set(range(225))
    with pytest.raises(TidelineError, match="fold 0 has 0 rows to fit"):
        list(iterate_folds(task, frame, np.zeros(300, np.int8)))


@pytest.mark.parametrize("change", [{"problem": "classification"}, {"split": Split("time", by=("day",))}])
def test_neighbours_are_refused_where_they_would_mislead(change: dict[str, Any]) -> None:
    with pytest.raises(TidelineError, match="block 'near' uses neighbours"):
        build_preprocess(dataclasses.replace(HOMES, **change))


def test_mistakes_in_a_task_are_named() -> None:
    def blocks(*columns: str, step: Step) -> Task:
        return dataclasses.replace(HOMES, features=(Block("b", columns, (step,)),), dropped={"id": "numbers the rows"})

    with pytest.raises(TidelineError, match="takes column 'id': numbers the rows"):
        build_preprocess(blocks("id", step=Step("passthrough")))
    with pytest.raises(TidelineError, match="did you mean 'rotate'"):
        build_preprocess(blocks("income", step=Step("rotat")))
    with pytest.raises(TidelineError, match="did you mean 'angles'"):
        build_preprocess(blocks("longitude", step=Step("rotate", {"angels": [1]})))
    with pytest.raises(TidelineError, match=r"'b\.1\.angles' names no step"):
        build_preprocess(blocks("longitude", step=Step("rotate")), {"b.1.angles": [1]})
    with pytest.raises(TidelineError, match="column 'incom' is unknown; did you mean 'income'"):
        build_preprocess(blocks("income", step=Step("log", {"columns": ["incom"]}))).fit(make_frame()[["income"]])


def test_too_large_for_float32_names_the_feature(tmp_path: Path) -> None:
    task = dataclasses.replace(HOMES, features=(Block("raw", ("income",), (Step("passthrough"),)),))
    frame = make_frame()
    frame.loc[3, "income"] = 1e39
    layout = write_split(task, tmp_path, frame, (np.arange(300) % 3).astype(np.int8))
    search_preparation(task, give_budget(0), layout)
    with pytest.raises(TidelineError, match="'raw__income' exceeds the range of float32"):
        build_features(task, give_budget(0), layout)


def test_search_finds_the_better_choice_and_features_use_it(tmp_path: Path) -> None:
    useless = {"ratios": {"r": ("rooms", "rooms")}}
    choices = (useless["ratios"], {"r": ("income", [])})
    task = dataclasses.replace(HOMES, features=(
        Block("size", ("rooms", "income"), (Step("impute_median"), Step("ratios", useless, {"ratios": choices}))),
    ))  # fmt: skip
    assert list(collect_space(task)) == ["size.1.ratios"]
    layout = run_stages(task, tmp_path, trials=5)
    record = json.loads((layout.preparation / "preparation.json").read_text())
    assert record["params"] == {"size.1.ratios": {"r": ["income", []]}}
    assert record["trials"] == 5
    np.testing.assert_allclose(read_matrices(layout)["X"][:, 0], make_frame()["income"], rtol=1e-6)


def test_search_goes_on_where_it_stopped(tmp_path: Path) -> None:
    task = dataclasses.replace(HOMES, features=HOMES.features[:1])
    frame, folds = make_frame(), (np.arange(300) % 3).astype(np.int8)
    halves, whole = (write_split(task, tmp_path / part, frame, folds) for part in ("halves", "whole"))
    search_preparation(task, give_budget(1), halves)
    search_preparation(task, give_budget(3), halves)
    search_preparation(task, give_budget(3), whole)
    first, second = (json.loads((x.preparation / "preparation.json").read_text()) for x in (halves, whole))
    assert first == second
    assert first["trials"] == 3


def test_without_budget_the_tasks_own_values_stay(homes: Layout) -> None:
    record = json.loads((homes.preparation / "preparation.json").read_text())
    assert (record["params"], record["trials"]) == ({}, 0)
    assert not homes.studies.exists()


@pytest.mark.parametrize("name", ["bikes", "digits", "housing"])
def test_each_tasks_preparation_becomes_one_graph(name: str, data_dir: Path) -> None:
    task = catalog.get_task(name)
    source = task.source
    frame = source.load() if source.load is not None else source.read(data_dir / source.filename)  # type: ignore[misc]
    frame = frame.sample(1_500, random_state=0).reset_index(drop=True)
    raw = frame[list(task.feature_names)]
    preprocess = build_preprocess(task)
    y = encode_target(task, frame)
    preprocess.fit(raw, y)
    model = export_preprocess(task, preprocess)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(["X"], make_feed(task, frame))[0]
    expected = preprocess.transform(raw)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    scale = np.maximum(np.abs(expected), np.nanstd(expected, axis=0))
    assert np.nanmax(np.abs(found - expected) / np.maximum(scale, 1e-12)) < 1e-6
