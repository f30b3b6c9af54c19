"""Small real bundles: ONNX graphs written by hand, with every kind of column and names that are no Python names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tideline.bundle import Bundle, write_bundle
from tideline.contracts import Column, Interval, Manifest

COLUMNS = (
    Column("income", "number", 0.5, 15, unit="10,000 USD", description="Median income"),
    Column("rooms", "integer", 1, 1000, unit="rooms", description="Rooms"),
    Column("bed rooms", "integer", 1, 500, missing=0.1, description="Bedrooms"),
    Column("élan (m/s)", "number", description="Unbounded"),
    Column("built", "date", description="Day of building"),
    Column("sea", "category", categories=("inland", "near bay", 'is"land'), description="Where it lies"),
    Column("owner", "category", missing=0.2, description="Any text"),
)
CLASSES = ("low", "middle", "high")
ROW = {
    "income": 3.5,
    "rooms": 10,
    "bed rooms": 2,
    "élan (m/s)": -1.25,
    "built": "1990-05-17",
    "sea": "near bay",
    "owner": "Ada",
}  # fmt: skip
WEIGHTS = {"income": 100.0, "rooms": 2.0, "bed rooms": 5.0, "élan (m/s)": 1.0, "built": 0.001}
SEA = {"inland": 10.0, "near bay": 20.0, 'is"land': 30.0}
MISSING_BEDROOMS = 4.0


def expected_value(row: dict[str, object]) -> float:
    """What the regression graph answers for a row as a client sends it."""
    days = float(np.datetime64(str(row["built"]), "D").astype(int))
    bedrooms = row.get("bed rooms")
    numbers = {**row, "built": days, "bed rooms": MISSING_BEDROOMS if bedrooms is None else bedrooms}
    total = sum(weight * float(numbers[name]) for name, weight in WEIGHTS.items())  # type: ignore[arg-type]
    return total + SEA[str(row["sea"])] + (7.0 if row.get("owner") else 0.0)


def write_small_bundle(
    path: Path, problem: str = "regression", task: str = "toy", shift: float = 0.0, slow: bool = False
) -> Bundle:
    """A bundle whose answers `expected_value` knows; `shift` makes it another model, `slow` one that takes its time."""
    classes = CLASSES if problem == "classification" else ()
    widths = (5.0, 9.0) if not classes else (0.6, 0.95)
    manifest = Manifest(
        task=task,
        title="Toy houses",
        problem=problem,  # type: ignore[arg-type]
        model="by_hand",
        created="2026-01-01T00:00:00Z",
        columns=COLUMNS,
        target=Column("value", "number", unit="USD", description="Value"),
        classes=classes,
        clip=None,
        provenance={"source": "folder", "simulated": False, "rows": 3, "sha256": "0" * 64},
        hashes={"data": "0", "split": "0", "code": "0", "params": "0"},
        versions={"onnx": onnx.__version__},
        intervals=tuple(Interval(level, (), (width,)) for level, width in zip((0.8, 0.95), widths, strict=True)),
        parity={"passed": True, "max_rel": 0.0},
        metrics={"test": {"rmse": 1.0}},
    )
    sample = {name: [value] for name, value in ROW.items()} | {"built": [7441.0]}
    reference = {"rows": 3, "sample": sample}
    return write_bundle(path, _graph(bool(classes), shift, slow).SerializeToString(), manifest, reference)


def _graph(classes: bool, shift: float, slow: bool) -> onnx.ModelProto:
    nodes, terms, constants = [], [], {"shift": np.array(shift, dtype=np.float64)}
    for i, (name, weight) in enumerate(WEIGHTS.items()):
        constants[f"w{i}"] = np.array(weight, dtype=np.float64)
        source = name
        if name == "bed rooms":
            constants["fill"] = np.array(MISSING_BEDROOMS, dtype=np.float64)
            nodes += [
                helper.make_node("IsNaN", [name], ["gone"]),
                helper.make_node("Where", ["gone", "fill", name], ["filled"]),
            ]
            source = "filled"
        nodes.append(helper.make_node("Mul", [source, f"w{i}"], [f"t{i}"]))
        terms.append(f"t{i}")
    for name, table, default in (("sea", SEA, 0.0), ("owner", {"": 0.0}, 7.0)):
        nodes.append(
            helper.make_node(
                "LabelEncoder",
                [name],
                [f"{name}_f"],
                domain="ai.onnx.ml",
                keys_strings=list(table),
                values_floats=list(table.values()),
                default_float=default,
            )
        )
        nodes.append(helper.make_node("Cast", [f"{name}_f"], [f"{name}_d"], to=TensorProto.DOUBLE))
        terms.append(f"{name}_d")
    if slow:  # forty products of large matrices, times zero
        constants |= {"large": np.ones((300, 300), np.float64), "nothing": np.array(0.0)}
        nodes += [
            helper.make_node("ReduceMax", ["income"], ["any_income"], keepdims=0),  # so that nothing is computed ahead
            helper.make_node("Mul", ["large", "any_income"], ["large0"]),
        ]
        for i in range(40):
            nodes.append(helper.make_node("MatMul", [f"large{i}", "large"], [f"large{i + 1}"]))
        nodes.append(helper.make_node("ReduceMax", ["large40"], ["largest"], keepdims=0))
        nodes.append(helper.make_node("IsInf", ["largest"], ["is_infinite"]))
        nodes.append(helper.make_node("Where", ["is_infinite", "nothing", "nothing"], ["none"]))
        terms.append("none")
    nodes += [
        helper.make_node("Sum", [*terms, "shift"], ["total"]),
        helper.make_node("Cast", ["total"], ["value"], to=TensorProto.FLOAT),
    ]
    if classes:
        constants |= {"scale": np.array([[-0.01, 0.0, 0.01]], np.float32), "bias": np.array([[5, 0.5, -5]], np.float32)}
        nodes += [
            helper.make_node("MatMul", ["value", "scale"], ["raw"]),
            helper.make_node("Add", ["raw", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["value"], ["prediction"]))
    inputs = [
        helper.make_tensor_value_info(c.name, TensorProto.STRING if c.is_text else TensorProto.DOUBLE, [None, 1])
        for c in COLUMNS
    ]
    name, width = ("probabilities", len(CLASSES)) if classes else ("prediction", 1)
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width])]
    weights = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    graph = helper.make_graph(nodes, "toy", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model
