"""One graph from raw columns, and the gate that holds it against the framework."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.matrices import ANIMALS, RENTS, ROWS, few_params, prepare
from tests.small_task import make_frame
from tideline.blend import blend
from tideline.contracts import Task, TidelineError
from tideline.edge_rows import make_edge_rows
from tideline.export import export
from tideline.feature_graph import make_feed
from tideline.layout import Layout
from tideline.parity import Comparison, judge, make_threshold_rows, open_session
from tideline.train import train
from tideline.tuning import tune

MODELS = ("linear", "decision_tree", "hist_gradient_boosting")
PARAMS = few_params(models=("naive", *MODELS))


@pytest.fixture(scope="module", params=[RENTS, ANIMALS], ids=lambda t: t.problem)
def exported(request: Any, tmp_path_factory: Any) -> tuple[Task, Layout]:
    """A task with three exported models and their blend."""
    task: Task = request.param
    layout = prepare(tmp_path_factory.mktemp(task.name), task)
    for model in MODELS:
        tune(task, PARAMS, layout, model)
        train(task, PARAMS, layout, model)
        export(task, PARAMS, layout, model)
    blend(task, PARAMS, layout)
    export(task, PARAMS, layout, "blend")
    return task, layout


@pytest.mark.parametrize("model", [*MODELS, "blend"])
def test_parity_passes_and_is_recorded(exported: tuple[Task, Layout], model: str) -> None:
    _, layout = exported
    verdict = json.loads((layout.export(model) / "parity.json").read_text())
    assert verdict["passed"]
    assert verdict["rows"] == ROWS
    assert verdict["edge_rows"] > 10
    assert verdict["max_rel"] < 1e-4
    assert verdict["floor"] == PARAMS.export.floor
    assert verdict["provider"] == "CPUExecutionProvider"
    assert set(verdict["worst"][0]) == {"row", "framework", "onnx", "failed"}


@pytest.mark.parametrize("model", [*MODELS, "blend"])
def test_the_graph_takes_raw_columns(exported: tuple[Task, Layout], model: str) -> None:
    task, layout = exported
    graph = onnx.load(layout.export(model) / "model.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert graph.ir_version == 10
    assert {(o.domain, o.version) for o in graph.opset_import} == {("", 21), ("ai.onnx.ml", 3)}
    assert [i.name for i in graph.graph.input] == list(task.feature_names)
    output = "prediction" if task.problem == "regression" else "probabilities"
    assert [o.name for o in graph.graph.output] == [output]
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for rows in (1, 7):
        answer = session.run(None, make_feed(task, make_frame(rows)))[0]
        assert answer.shape == (rows, 1 if task.problem == "regression" else 3)
        assert answer.dtype == np.float32


def test_the_blend_is_the_weighted_sum_of_its_members(exported: tuple[Task, Layout]) -> None:
    task, layout = exported
    weights = json.loads((layout.train("blend") / "blend.json").read_text())["weights"]
    feed = make_feed(task, make_frame(50, seed=9))

    def answer(model: str) -> np.ndarray:
        path = str(layout.export(model) / "model.onnx")
        out: np.ndarray = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feed)[0]
        return out.astype(np.float64)

    expected = sum(weight * answer(name) for name, weight in weights.items())
    np.testing.assert_allclose(answer("blend"), expected, rtol=1e-6)


def test_a_graph_that_disagrees_is_out_and_its_rows_are_named(exported: tuple[Task, Layout]) -> None:
    """The preparation on disk is changed after training, as a wrong converter would."""
    task, layout = exported
    path = layout.features / "preprocess.onnx"
    whole = path.read_bytes()
    graph = onnx.load(path)
    last = next(node for node in graph.graph.node if "X" in node.output)
    last.output[:] = ["shifted"]
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(1.5, np.float32), "shift"))
    graph.graph.node.append(onnx.helper.make_node("Mul", ["shifted", "shift"], ["X"]))
    try:
        path.write_bytes(graph.SerializeToString())
        export(task, PARAMS, layout, "linear")
        verdict = json.loads((layout.export("linear") / "parity.json").read_text())
        assert verdict["passed"] is False
        assert verdict["failed_rows"] > 0
        assert verdict["worst"][0]["failed"]
    finally:
        path.write_bytes(whole)
        export(task, PARAMS, layout, "linear")


def test_edge_rows_cover_every_column() -> None:
    names, rows = make_edge_rows(RENTS, make_frame(50))
    assert len(names) == len(rows)
    assert {"size missing", "kind missing", "kind unknown", "floor most", "day least", "all most"} <= set(names)
    assert rows["size"][names.index("size missing")] != rows["size"][names.index("size missing")]
    assert rows["floor"][names.index("floor most")] == 20
    assert "floor missing" not in names


def test_threshold_rows_sit_at_and_beside_the_thresholds(exported: tuple[Task, Layout]) -> None:
    _, layout = exported
    net = onnx.load(layout.export("decision_tree") / "net.onnx")
    X = np.zeros((4, net.graph.input[0].type.tensor_type.shape.dim[1].dim_value), np.float32)
    names, rows = make_threshold_rows(net, X, seed=0)
    assert len(names) == len(rows)
    assert len(rows) % 3 == 0
    at, above, below = rows[0], rows[1], rows[2]
    moved = np.flatnonzero(above != below)
    assert len(moved) == 1
    assert below[moved] < at[moved] < above[moved]
    assert np.nextafter(at[moved], np.float32(np.inf)) == above[moved]


def compare(framework: Any, graph: Any, problem: Any) -> dict[str, Any]:
    pair = np.asarray(framework, np.float64), np.asarray(graph, np.float64)
    return judge([Comparison([f"r{i}" for i in range(len(pair[0]))], *pair)], problem, PARAMS.export)


def test_the_limits_of_the_gate() -> None:
    assert compare([100.0], [100.009], "regression")["passed"]
    failed = compare([100.0, 100.0], [100.0, 100.02], "regression")
    assert not failed["passed"]
    assert failed["worst"][0]["row"] == "r1"
    assert compare([0.0], [0.00009], "regression")["passed"]  # under the floor of 1, an absolute 1e-4
    assert not compare([0.0], [0.0002], "regression")["passed"]
    assert compare([[0.6, 0.4]], [[0.60005, 0.39995]], "classification")["passed"]
    assert not compare([[0.6, 0.4]], [[0.6002, 0.3998]], "classification")["passed"]
    flipped = compare([[0.50001, 0.49999]], [[0.49999, 0.50001]], "classification")
    assert not flipped["passed"]
    assert flipped["changed_classes"] == 1
    assert not compare([1.0], [np.nan], "regression")["passed"]


def test_cuda_asked_for_and_not_given_is_an_error(exported: tuple[Task, Layout]) -> None:
    _, layout = exported
    net = onnx.load(layout.export("linear") / "net.onnx")
    try:
        given = onnxruntime.InferenceSession(
            net.SerializeToString(), providers=["CUDAExecutionProvider"]
        ).get_providers()
    except Exception:  # onnxruntime itself may refuse
        given = []
    if "CUDAExecutionProvider" in given:
        pytest.skip("this machine has a GPU")
    with pytest.raises(TidelineError, match="cuda"):
        open_session(net, "cuda", 1)
