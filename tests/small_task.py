"""Two small tasks with real data of a known law, real ONNX graphs for them, and every file that selection reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper

from tideline.bundle import Bundle, finish, load_bundle
from tideline.contracts import Column, Slice, Source, Split, Task
from tideline.layout import Layout
from tideline.params import Params, load_params
from tideline.predictor import Predictor, columns_from_frame
from tideline.selection import select

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = (
    Column("size", "number", 0, 100, missing=0.2, unit="m2"),
    Column("floor", "integer", 0, 20),
    Column("kind", "category", categories=("a", "b"), missing=0.1),
    Column("day", "date"),
)
RENT = Task(
    name="rent", title="Rents", problem="regression", source=Source(), columns=COLUMNS,
    target=Column("price", "number", 0, 1_000, unit="EUR"), split=Split("hash", by=("size",)), features=(),
    slices=(Slice("kind", "kind"), Slice("size", "size", bins=(-np.inf, 50, np.inf), labels=("small", "large"))),
    clip=(0.0, 1_000.0),
)  # fmt: skip
PETS = Task(
    name="pets", title="Pets", problem="classification", source=Source(), columns=COLUMNS,
    target=Column("pet", "category", categories=("cat", "dog", "eel")), split=Split("hash", by=("size",)), features=(),
    classes=("cat", "dog", "eel"), slices=(Slice("kind", "kind"),),
)  # fmt: skip
SPLIT = "5" * 64


def make_frame(rows: int, seed: int = 0) -> pd.DataFrame:
    """price = 3 size + 40 (kind is b) + noise of deviation 10; the pet follows size; some cells are missing."""
    random = np.random.default_rng(seed)
    size, kind = random.uniform(0, 100, rows), random.choice(["a", "b"], rows)
    odds = np.stack([np.full(rows, 0.0), size / 10 - 5, np.full(rows, -1.0)], axis=1) + random.gumbel(size=(rows, 3))
    frame = pd.DataFrame(
        {
            "size": np.where(random.random(rows) < 0.1, np.nan, size),
            "floor": random.integers(0, 20, rows).astype(np.float64),
            "kind": pd.array(np.where(random.random(rows) < 0.05, None, kind), dtype="str"),
            "day": random.integers(10_000, 10_100, rows).astype(np.float64),
            "price": 100 + 3 * size + 40 * (kind == "b") + random.normal(0, 10, rows),
        }
    )
    return frame.assign(pet=pd.array(np.array(PETS.classes)[odds.argmax(axis=1)], dtype="str"))


def make_graph(task: Task, slope: float = 3.0, bonus: float = 40.0, clip: bool = True) -> bytes:
    """The law as a graph: a missing size counts as 50. For classes the slope is that of the odds of a dog, times 30."""
    inputs = [
        helper.make_tensor_value_info(c.name, TensorProto.STRING if c.is_text else TensorProto.DOUBLE, [None, 1])
        for c in task.columns
    ]
    node = helper.make_node
    constants = {"fifty": 50.0, "slope": slope, "start": 100.0, "nothing": 0.0, "low": 0.0, "high": 1_000.0}
    nodes = [
        node("IsNaN", ["size"], ["lost"]),
        node("Where", ["lost", "fifty", "size"], ["whole"]),
        node("Mul", ["whole", "slope"], ["grown"]),
        node("LabelEncoder", ["kind"], ["bonus_single"], domain="ai.onnx.ml", keys_strings=["a", "b"],
             values_floats=[0.0, bonus], default_float=bonus / 2),
        node("Cast", ["bonus_single"], ["bonus"], to=TensorProto.DOUBLE),
        node("Sum", ["floor", "day"], ["others"]),
        node("Mul", ["others", "nothing"], ["unused"]),
    ]  # fmt: skip
    if task.problem == "regression":
        nodes += [
            node("Sum", ["grown", "bonus", "unused", "start"], ["total"]),
            node("Clip", ["total", "low", "high"] if clip else ["total"], ["held"]),
            node("Cast", ["held"], ["prediction"], to=TensorProto.FLOAT),
        ]
        output = helper.make_tensor_value_info("prediction", TensorProto.FLOAT, [None, 1])
    else:
        constants |= {"thirty": 30.0, "five": 5.0, "one": 1.0}
        nodes += [
            node("Div", ["grown", "thirty"], ["scaled"]),
            node("Sub", ["scaled", "five"], ["dog"]),
            node("Sub", ["unused", "one"], ["eel"]),
            node("Concat", ["unused", "dog", "eel"], ["odds"], axis=1),
            node("Cast", ["odds"], ["odds_single"], to=TensorProto.FLOAT),
            node("Softmax", ["odds_single"], ["probabilities"], axis=1),
        ]
        output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3])
    given = [helper.make_tensor(name, TensorProto.DOUBLE, [], [value]) for name, value in constants.items()]
    graph = helper.make_graph(nodes, task.name, inputs, [output], given)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def small_params(**changes: Any) -> Params:
    """The project's own parameters with changes."""
    return replace(load_params(ROOT / "params.yaml"), **changes)


def write_project(root: Path, task: Task, rows: int = 800, simulated: bool = False, split: str = SPLIT) -> Layout:
    """Raw manifest, split and features as their stages leave them."""
    layout = Layout(task.name, root)
    write(layout.raw / "manifest.json", {"task": task.name, "source": "simulator" if simulated else "folder",
          "simulated": simulated, "rows": 2 * rows, "sha256": "d" * 64, "origin": "somewhere"})  # fmt: skip
    write(layout.split / "split.json", {"hash": split, "n_train": rows, "n_test": rows})
    write(layout.features / "features.json", {"names": ["x"], "hash": "f" * 64})
    train, test = make_frame(rows, seed=1), make_frame(rows, seed=2)
    train.to_parquet(layout.split / "train.parquet", index=False)
    test.to_parquet(layout.split / "test.parquet", index=False)
    np.savez(layout.features / "matrices.npz", y=read_target(task, train))
    (root / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    return layout


def write_contender(
    layout: Layout, task: Task, model: str, mean: float, slope: float = 3.0, parity: bool = True, bonus: float = 40.0
) -> None:
    """A trained and exported model; its out-of-fold predictions are the graph's on the training rows."""
    path = layout.export(model) / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(make_graph(task, slope, bonus))
    worst = [{"row": "training row 7", "framework": 1.0, "onnx": 1.5}]
    write(path.with_name("parity.json"), {"passed": parity, "max_rel": 1e-6 if parity else 0.5, "max_abs": 0.1,
          "rows": 10, "edge_rows": 2, "worst": worst, "floor": 1.0, "relative": 1e-4})  # fmt: skip
    metric = "rmse" if task.problem == "regression" else "log_loss"
    record = {"family": "law", "device": "cpu", "params": {}, "seconds": 1.0, "curve": None}
    scores = {"metric": metric, "scores": [mean, mean], "mean": mean, "std": 0.1}
    write(layout.train(model) / "train.json", {"model": model, **record, **scores})
    train = pd.read_parquet(layout.split / "train.parquet")
    found = Predictor.from_graph(path, task).predict(columns_from_frame(task, train))
    predicted = found.values if task.problem == "regression" else found.probabilities
    predicted[:50] = np.nan  # never validated, as in a time-ordered task
    np.save(layout.train(model) / "oof.npy", predicted)


def ship(layout: Layout, task: Task, slope: float = 3.0, bonus: float = 40.0, latency: float = 20.0) -> Bundle:
    """Selection, true figures on the test rows, and the finished bundle of one model."""
    write_contender(layout, task, "linear", 1.0, slope, bonus=bonus)
    params = small_params(models=("linear",))
    select(task, params, layout)
    test = pd.read_parquet(layout.split / "test.parquet")
    prediction = Predictor(layout.candidate).predict(columns_from_frame(task, test))
    actual = read_target(task, test)
    if task.problem == "regression":
        score = {"rmse": float(np.sqrt(np.mean((prediction.values - actual) ** 2)))}
    else:
        score = {"log_loss": float(-np.log(prediction.probabilities[np.arange(len(actual)), actual]).mean())}
    write(layout.reports / "metrics.json", {"task": task.name, "model": "linear", "n_test": len(test), "test": score,
          "latency_us": {"row": latency, "batch": 100.0}})  # fmt: skip
    finish(task, params, layout)
    return load_bundle(layout.bundle)


def read_target(task: Task, frame: pd.DataFrame) -> np.ndarray:
    """The target as numbers."""
    if task.problem == "regression":
        return frame["price"].to_numpy(np.float64)
    return np.array([task.classes.index(v) for v in frame["pet"]], dtype=np.int64)


def write(path: Path, record: Any) -> None:
    """A JSON file in a folder that need not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
