"""The Open Inference Protocol, spoken by Triton's own client to real servers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.serving.real_server import RealServer
from tests.serving.small_bundle import CLASSES, COLUMNS, ROW, expected_value
from tideline.bundle import Bundle
from tideline.keys import add_key

TEXTS = {c.name for c in COLUMNS if c.kind in ("category", "date")}
SECOND = {**ROW, "income": 7.25, "bed rooms": None, "owner": None, "sea": "inland"}


def make_inputs(rows: list[dict[str, Any]], binary: bool = True, kind: str = "FP64") -> list[triton.InferInput]:
    """One tensor a column, (n, 1) or (n,); a missing number is NaN, a missing text empty."""
    inputs = []
    for number, name in enumerate(ROW):
        values = [row[name] for row in rows]
        shape = [len(rows), 1] if number % 2 else [len(rows)]
        if name in TEXTS:
            tensor = triton.InferInput(name, shape, "BYTES")
            array = np.array([("" if v is None else v).encode() for v in values], dtype=object)
        else:
            tensor = triton.InferInput(name, shape, kind)
            numpy_kind = {"FP64": np.float64, "FP32": np.float32}[kind]
            array = np.array([np.nan if v is None else v for v in values], dtype=numpy_kind)
        tensor.set_data_from_numpy(array.reshape(shape), binary_data=binary)
        inputs.append(tensor)
    return inputs


@pytest.fixture
def client(server: RealServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as opened:
        yield opened


@pytest.fixture(scope="module")
def classifier(classification_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    home = tmp_path_factory.mktemp("classifier")
    with RealServer(["--bundle", str(classification_bundle.path)], home) as running:
        yield running


def logged(server: RealServer, ids: list[str]) -> list[sqlite3.Row]:
    store = sqlite3.connect(server.home / "store" / "predictions.db")
    store.row_factory = sqlite3.Row
    query = f"SELECT * FROM predictions WHERE prediction_id IN ({','.join('?' * len(ids))}) ORDER BY prediction_id"
    return store.execute(query, ids).fetchall()


def test_health_and_metadata(client: triton.InferenceServerClient, server: RealServer) -> None:
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("toy")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    model = client.get_model_metadata("toy")
    (version,) = model["versions"]
    assert version == server.client.get("/model").json()["version"]
    assert client.is_model_ready("toy", version) and not client.is_model_ready("toy", "v9")
    assert client.get_model_metadata("toy", version) == model
    kinds = {tensor["name"]: tensor["datatype"] for tensor in model["inputs"]}
    assert kinds == {name: "BYTES" if name in TEXTS else "FP64" for name in ROW}
    shapes = {tensor["name"]: (tensor["datatype"], tensor["shape"]) for tensor in model["outputs"]}
    assert shapes == {
        "prediction": ("FP64", [-1]),
        "interval_0.8": ("FP64", [-1, 2]),
        "interval_0.95": ("FP64", [-1, 2]),
        "prediction_id": ("BYTES", [-1]),
    }


@pytest.mark.parametrize("n", [1, 2, 300])
@pytest.mark.parametrize("binary", [True, False])
def test_regression(client: triton.InferenceServerClient, server: RealServer, n: int, binary: bool) -> None:
    rows = [ROW if i % 2 == 0 else {**SECOND, "income": 1 + i / 100} for i in range(n)]
    outputs = None if binary else [triton.InferRequestedOutput("prediction", binary_data=False)]
    if not binary and any(row["bed rooms"] is None for row in rows):
        rows = [{**row, "bed rooms": 3} for row in rows]  # that client writes NaN into JSON, which JSON does not know
    answer = client.infer("toy", make_inputs(rows, binary), outputs=outputs, request_id="order 7")
    assert answer.get_response()["id"] == "order 7"
    found = answer.as_numpy("prediction")
    np.testing.assert_allclose(found, [expected_value(row) for row in rows], rtol=1e-6)
    if not binary:
        assert answer.as_numpy("interval_0.8") is None
        return
    band = answer.as_numpy("interval_0.8")
    np.testing.assert_allclose(band, np.column_stack([found - 5, found + 5]))
    ids = [name.decode() for name in answer.as_numpy("prediction_id")]
    stored = logged(server, ids)
    assert [row["prediction_id"] for row in stored] == ids
    assert [row["prediction"] for row in stored] == found.tolist()
    assert {row["route"] for row in stored} == {"/v2/infer"}
    native = server.predict(rows).json()
    assert native["predictions"] == found.tolist()
    same = logged(server, native["prediction_ids"])
    assert [json.loads(row["features"]) for row in stored] == [json.loads(row["features"]) for row in same]
    assert [row["intervals"] for row in stored] == [row["intervals"] for row in same]


@pytest.mark.parametrize("n", [1, 200])
def test_classification(classifier: RealServer, n: int) -> None:
    rows = [ROW if i % 2 == 0 else SECOND for i in range(n)]
    with triton.InferenceServerClient(f"127.0.0.1:{classifier.port}") as client:
        answer = client.infer("toy", make_inputs(rows))
    native = classifier.predict(rows).json()
    assert [name.decode() for name in answer.as_numpy("prediction")] == native["predictions"]
    shares = answer.as_numpy("probabilities")
    assert [dict(zip(CLASSES, row, strict=True)) for row in shares.tolist()] == native["probabilities"]
    members = answer.as_numpy("set_0.8")
    assert members.dtype == np.bool_
    assert [[c for c, inside in zip(CLASSES, row, strict=True) if inside] for row in members] == native["sets"]["0.8"]


def test_a_version_that_is_not_served_is_named(client: triton.InferenceServerClient, server: RealServer) -> None:
    served = server.client.get("/model").json()["version"]
    assert client.infer("toy", make_inputs([ROW]), model_version=served).get_response()["model_version"] == served
    with pytest.raises(InferenceServerException, match=f"'v9' is not served; of toy there is {served}") as caught:
        client.infer("toy", make_inputs([ROW]), model_version="v9")
    assert caught.value.status() == "404"
    with pytest.raises(InferenceServerException, match="there is no model 'cars'"):
        client.infer("cars", make_inputs([ROW]))


def test_nullable_columns_may_be_left_out_and_null(server: RealServer) -> None:
    kept = [tensor for tensor in as_json([ROW]) if tensor["name"] not in ("bed rooms", "owner")]
    nulls = [{"name": "bed rooms", "shape": [1], "datatype": "INT64", "data": [None]}]
    empty = [{"name": "owner", "shape": [1], "datatype": "BYTES", "data": [""]}]
    for inputs in (kept, kept + nulls, kept + empty):
        body = infer(server, {"inputs": inputs}).json()
        prediction = next(tensor for tensor in body["outputs"] if tensor["name"] == "prediction")
        assert prediction["data"] == pytest.approx([expected_value({**ROW, "bed rooms": None, "owner": None})])


def test_fp32_takes_the_bounds(client: triton.InferenceServerClient) -> None:
    answer = client.infer("toy", make_inputs([{**ROW, "income": 15}], kind="FP32"))
    np.testing.assert_allclose(answer.as_numpy("prediction"), [expected_value({**ROW, "income": 15})])


def as_json(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"name": n, "shape": [len(rows)], "datatype": "BYTES" if n in TEXTS else "FP64", "data": [r[n] for r in rows]}
        for n in ROW
    ]


def infer(server: RealServer, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return server.client.post("/v2/models/toy/infer", content=content, headers=headers)


def replace(name: str, /, **change: Any) -> dict[str, Any]:
    return {"inputs": [{**tensor, **(change if tensor["name"] == name else {})} for tensor in as_json([ROW, ROW])]}


@pytest.mark.parametrize(
    ("body", "status", "path", "said"),
    [
        (replace("income", data=[3.5, 99]), 422, "inputs.income[1]", "expected a number from 0.5 to 15, got 99.0"),
        (replace("income", data=[3.5, None]), 422, "inputs.income[1]", "got null"),
        (replace("income", data=[3.5, "x"]), 422, "inputs.income[1]", "expected a number from 0.5 to 15"),
        (replace("rooms", data=[3.5, 4]), 422, "inputs.rooms[0]", "expected a whole number"),
        (replace("sea", data=["inland", "moon"]), 422, "inputs.sea[1]", "expected one of 'inland'"),
        (replace("built", data=["1990-02-30", ""]), 422, "inputs.built", "expected a date"),
        (replace("built", data=["1990-02-03", ""]), 422, "inputs.built[1]", "got null"),
        (replace("income", datatype="BYTES"), 422, "inputs.income.datatype", "expected FP64, got 'BYTES'"),
        (replace("sea", datatype="FP64"), 422, "inputs.sea.datatype", "expected BYTES"),
        (replace("income", shape=[2, 2]), 422, "inputs.income.shape", "expected [n] or [n, 1]"),
        (replace("income", shape=[3]), 422, "inputs.income.data", "says 3 elements, but there are 2"),
        (replace("income", shape=[1], data=[3]), 422, "inputs.income", "has 1 elements, others have 2"),
        (replace("income", name="incom"), 422, "inputs.incom", "did you mean 'income'?"),
        ({"inputs": as_json([ROW])[1:]}, 422, "inputs.income", "income is required"),
        ({"inputs": []}, 422, "inputs.income", "income is required"),
        ({"inputs": as_json([ROW]) * 2}, 422, "inputs.income", "comes twice"),
        ({"inputs": as_json([])}, 422, "inputs", "there are no rows"),
        ({"inputs": as_json([ROW] * 501)}, 422, "inputs", "at most 500"),
        ({"inputs": as_json([ROW]), "outputs": [{"name": "x"}]}, 422, "outputs.x", "there is no such output"),
        ({"inputs": as_json([ROW]), "output": []}, 422, "output", "did you mean 'outputs'?"),
        ({}, 422, "inputs", "inputs is required"),
        (b"{", 400, "body", "not JSON"),
        (b"\xff", 400, "body", "not JSON"),
        (
            {"inputs": as_json([ROW]), "outputs": [{"name": "prediction", "parameters": {"classification": 2}}]},
            400, "outputs.prediction.parameters.classification", "knows no classification",
        ),
        (
            {"inputs": [{"name": "income", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}}]},
            400, "inputs.income.parameters.binary_data_size", "0 are left",
        ),
    ],
)  # fmt: skip
def test_refusals_have_the_protocols_shape(server: RealServer, body: Any, status: int, path: str, said: str) -> None:
    answer = infer(server, body)
    told = answer.json()
    assert (answer.status_code, said in told["error"]) == (status, True), told
    assert told["path"].startswith(path) and told["error"].startswith(path)


def test_bytes_that_do_not_fit_are_refused(server: RealServer) -> None:
    tensor = {"name": "sea", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 5}}
    for content, said in (
        (b"\x09\0\0\0a", "leads out"),
        (b"\x01\0\0\0\xff", "utf-8"),
        (b"\x01\0\0\0ab", "sum up to 5"),
    ):
        head = json.dumps({"inputs": [tensor]}).encode()
        length = {"inference-header-content-length": str(len(head))}
        answer = infer(server, head + content, **length)
        assert answer.status_code in (400, 422) and said in answer.json()["error"]
    assert infer(server, b"{}", **{"inference-header-content-length": "3"}).status_code == 400


def test_all_errors_below_v2_have_its_shape(server: RealServer) -> None:
    for method, path, status in (("GET", "/v2/models/toy/infer", 405), ("GET", "/v2/nothing", 404)):
        answer = server.client.request(method, path)
        assert answer.status_code == status and isinstance(answer.json()["error"], str)
    assert infer(server, b"", **{"content-type": "text/plain"}).status_code == 415


def test_keys_and_sticky_keys(regression_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    secret = add_key(tmp_path / "store" / "keys.json", "shop", ("feedback",))
    other = add_key(tmp_path / "store" / "keys.json", "till", ("predict",))
    with RealServer(["--bundle", str(regression_bundle.path)], tmp_path) as server:
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            for key, status in (("", "401"), (secret, "403")):
                with pytest.raises(InferenceServerException) as caught:
                    client.infer("toy", make_inputs([ROW]), headers={"authorization": f"Bearer {key}"})
                assert caught.value.status() == status
            headers = {"authorization": f"Bearer {other}", "x-sticky-key": "cart-7"}
            answer = client.infer("toy", make_inputs([ROW]), headers=headers)
        (row,) = logged(server, [answer.as_numpy("prediction_id")[0].decode()])
        assert row["key"] == "cart-7"
