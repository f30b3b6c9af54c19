"""The real server over HTTP: answers, refusals, probes, metrics, descriptions."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.serving.real_server import RealServer
from tests.serving.small_bundle import COLUMNS, ROW, expected_value
from tideline.bundle import Bundle


def resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of the description, with the components it may refer to."""
    return {**schema, "components": document["components"]}


def check(server: RealServer, response: httpx.Response, path: str, method: str) -> Any:
    """Body of an answer, which must be what /openapi.json promises."""
    document = server.client.get("/openapi.json").json()
    described = document["paths"][path][method]["responses"][str(response.status_code)]
    schema = described["content"]["application/json"]["schema"]
    jsonschema.Draft202012Validator(resolve(document, schema)).validate(response.json())
    return response.json()


def test_rows_are_answered_in_order_with_intervals(server: RealServer, regression_bundle: Bundle) -> None:
    rows = [{**ROW, "income": 1 + i} for i in range(9)]
    rows[3] = {k: v for k, v in rows[3].items() if k not in ("bed rooms", "owner")}
    answer = check(server, server.predict(rows), "/predict", "post")
    values = [expected_value(row) for row in rows]
    assert answer["model"] == {"task": "toy", "name": "by_hand", "version": regression_bundle.digest[:12]}
    assert answer["predictions"] == pytest.approx(values, rel=1e-6)
    assert list(answer["intervals"]) == ["0.8", "0.95"]
    for value, (low, high), (lower, higher) in zip(values, *answer["intervals"].values(), strict=True):
        assert (low, high) == pytest.approx((value - 5, value + 5), rel=1e-6)
        assert (lower, higher) == pytest.approx((value - 9, value + 9), rel=1e-6)


def test_bulk_is_answered(server: RealServer) -> None:
    rows = [{**ROW, "rooms": 1 + i} for i in range(500)]
    answer = server.predict(rows).json()
    assert answer["predictions"] == pytest.approx([expected_value(row) for row in rows], rel=1e-6)


def test_concurrent_requests_get_their_own_answers(server: RealServer) -> None:
    def ask(number: int) -> tuple[int, httpx.Response]:
        if number % 7 == 0:
            return number, server.predict([{**ROW, "rooms": "x"}])
        rows = [{**ROW, "rooms": 1 + (number + i) % 1000} for i in range(1 + number % 90)]
        return number, server.predict(rows)

    with ThreadPoolExecutor(16) as pool:
        for number, response in pool.map(ask, range(300)):
            if number % 7 == 0:
                assert response.status_code == 422
                continue
            expected = [expected_value({**ROW, "rooms": 1 + (number + i) % 1000}) for i in range(1 + number % 90)]
            assert response.json()["predictions"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("content", "headers", "status", "path"),
    [
        (json.dumps({"rows": [{**ROW, "income": "NaN"}]}), {}, 422, "rows[0].income"),
        (json.dumps({"rows": [{**ROW, "extra": 1}]}), {}, 422, "rows[0].extra"),
        (json.dumps({"rows": [{}]}), {}, 422, "rows[0].income"),
        (json.dumps({"rows": [ROW] * 501}), {}, 422, "rows"),
        (json.dumps({"rows": []}), {}, 422, "rows"),
        ('{"rows": [{"income": NaN}]}', {}, 400, "rows[0].income"),
        ("{", {}, 400, "body"),
        ("", {}, 400, "body"),
        ("x" * 200_001, {}, 413, "body"),
        ("{}", {"content-type": "text/plain"}, 415, "header content-type"),
        ("{}", {"content-type": ""}, 415, "header content-type"),
        ("{}", {"content-encoding": "gzip"}, 415, "header content-encoding"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused(
    server: RealServer, content: str, headers: dict[str, str], status: int, path: str
) -> None:
    response = server.client.post("/predict", content=content, headers={"content-type": "application/json", **headers})
    error = check(server, response, "/predict", "post")["error"]
    assert (response.status_code, error["path"]) == (status, path)
    assert error["message"]
    assert "Traceback" not in response.text


def test_a_row_without_a_finite_answer_is_named(server: RealServer) -> None:
    response = server.predict([ROW] * 3 + [{**ROW, "élan (m/s)": 1e300}] + [ROW])
    assert response.status_code == 422
    assert response.json()["error"]["path"] == "rows[3]"


def test_a_chunked_body_is_read_and_measured(server: RealServer) -> None:
    content = json.dumps({"rows": [ROW]}).encode()
    headers = {"content-type": "application/json; charset=utf-8"}
    whole = server.client.post("/predict", content=iter([content[:9], content[9:]]), headers=headers)
    assert whole.status_code == 200
    endless = server.client.post("/predict", content=iter([b"x" * 50_000] * 5), headers=headers)
    assert endless.status_code == 413


@pytest.mark.parametrize("sent", [b"", b'{"rows": ['])
def test_a_body_that_does_not_come_is_given_up(server: RealServer, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        head = (
            b"POST /predict HTTP/1.1\r\nHost:localhost\r\nContent-Type:application/json\r\nContent-Length: 1000\r\n\r\n"
        )
        client.sendall(head + sent)
        start = time.monotonic()
        assert client.recv(1000).startswith(b"HTTP/1.1 408")
        assert time.monotonic() - start < 2.5


@pytest.mark.parametrize("path", ["/predict", "/model", "/openapi.json", "/docs", "/metrics", "/livez", "/readyz", "/"])
def test_a_wrong_method_is_told_the_right_one(server: RealServer, path: str) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "GET" if path == "/predict" else "POST"):
        response = server.client.request(method, path)
        assert response.status_code == 405, (method, path)
        assert response.headers["allow"] == ("POST" if path == "/predict" else "GET, HEAD")


def test_an_unknown_path_is_told_the_known_ones(server: RealServer) -> None:
    for path in ("/nope", "/predict/", "/static_content/index.css", "/docs.json", "/%00"):
        response = server.client.get(path)
        assert response.status_code == 404
        assert "/predict" in response.json()["error"]["expected"]


def test_the_model_says_what_it_is(server: RealServer, regression_bundle: Bundle) -> None:
    model = check(server, server.client.get("/model"), "/model", "get")
    assert (model["task"], model["name"], model["digest"]) == ("toy", "by_hand", regression_bundle.digest)
    assert [c["name"] for c in model["columns"]] == [c.name for c in COLUMNS]
    assert model["provenance"]["simulated"] is False
    assert model["metrics"] == {"test": {"rmse": 1.0}}
    assert server.client.head("/model").text == ""


def test_the_description_shows_the_columns(server: RealServer) -> None:
    document = server.client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    row = document["components"]["schemas"]["Row"]
    assert row["required"] == ["income", "rooms", "élan (m/s)", "built", "sea"]
    assert row["additionalProperties"] is False
    assert row["properties"]["income"] == {
        "type": "number",
        "minimum": 0.5,
        "maximum": 15,
        "x-unit": "10,000 USD",
        "description": "Median income",
    }
    assert row["properties"]["sea"]["enum"] == ["inland", "near bay", 'is"land']
    assert row["examples"] == [ROW]
    assert server.predict(row["examples"]).status_code == 200
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_probes_and_metrics_stand_beside_the_application(server: RealServer) -> None:
    assert server.client.get("/livez").status_code == 200
    assert server.client.get("/readyz").status_code == 200

    def read() -> Counter[tuple[str, str]]:
        families = text_string_to_metric_families(server.client.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        found: Counter[tuple[str, str]] = Counter()  # over the versions
        for s in samples:
            found[s.name, s.labels.get("route", "") + s.labels.get("status", "")] += s.value
        return found

    before = read()
    server.predict([ROW] * 3)
    server.predict([{}])
    server.client.get(f"/nobody/{time.time()}")
    after = read()

    def grown(name: str, labels: str = "") -> float:
        return after[name, labels] - before.get((name, labels), 0)

    assert grown("tideline_requests_total", "/predict200") == 1
    assert grown("tideline_requests_total", "/predict422") == 1
    assert grown("tideline_requests_total", "other404") == 1
    assert grown("tideline_request_seconds_count", "/predict") == 2
    assert grown("tideline_batch_rows_count") == 1
    assert grown("tideline_predicted_rows_total") == 3
    assert not any("nobody" in labels for _, labels in after)


def test_no_traceback_is_logged_for_a_refusal(server: RealServer) -> None:
    server.predict([{}])
    assert "Traceback" not in server.log
    assert "path=/predict" not in server.log  # no access log line a prediction
