"""Generated requests: whatever comes, the answer is a described one and never a 5xx."""

from __future__ import annotations

from collections import Counter
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from serving.columnar.media import FORMATS
from tests.serving.real_server import RealServer
from tests.serving.small_bundle import ROW
from tests.serving.written_rows import TEXTS

LENIENT = list(HealthCheck)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_generated_predictions_get_a_described_answer(server: RealServer, mode: GenerationMode) -> None:
    operation = schemathesis.openapi.from_url(f"{server.url}/openapi.json")["/predict"]["POST"]
    statuses: Counter[int] = Counter()

    @settings(max_examples=100, deadline=None, suppress_health_check=LENIENT)
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        response = case.call()
        statuses[response.status_code] += 1
        if mode is GenerationMode.POSITIVE and response.status_code != 200:
            # What a schema cannot say: an unbounded number may be too large for the model's arithmetic.
            assert "no finite number" in response.text
            case.validate_response(response, excluded_checks=[positive_data_acceptance])
        elif case.media_type == "application/json" and response.status_code != 413:
            case.validate_response(response)
        else:
            # 413 is no rejection to schemathesis, and what is written as CSV or Arrow here has lost what JSON tells
            # apart, such as 3 and "3".
            case.validate_response(response, excluded_checks=[negative_data_rejection])

    check()
    if mode is GenerationMode.POSITIVE:
        assert statuses[200] > 20  # what is described is taken
    else:
        assert statuses.keys() & {400, 415, 422}


def test_generated_rows_are_answered_alike_by_both_protocols(server: RealServer) -> None:
    operation = schemathesis.openapi.from_url(f"{server.url}/openapi.json")["/predict"]["POST"]
    answered = 0

    @settings(max_examples=60, deadline=None, suppress_health_check=LENIENT)
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def check(case: Case) -> None:
        nonlocal answered
        if case.media_type != "application/json":
            return
        rows = case.body["rows"]
        tensors = [
            {
                "name": name,
                "shape": [len(rows)],
                "datatype": "BYTES" if name in TEXTS else "FP64",
                "data": [row.get(name) for row in rows],
            }
            for name in ROW
        ]
        native, other = server.predict(rows), server.client.post("/v2/models/toy/infer", json={"inputs": tensors})
        assert native.status_code == other.status_code, other.text
        if native.status_code == 200:
            assert other.json()["outputs"][0]["data"] == native.json()["predictions"]
            answered += 1

    check()
    assert answered > 5


@pytest.mark.parametrize("path", ["/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"])
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_generated_tensors_get_a_described_answer(server: RealServer, path: str, mode: GenerationMode) -> None:
    operation = schemathesis.openapi.from_url(f"{server.url}/openapi.json")[path]["POST"]

    @settings(max_examples=60, deadline=None, suppress_health_check=LENIENT)
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        response = case.call()
        if response.status_code == 404 and response.text == "Not Found":
            return  # a line break in a path: the framework's own router knows no such path, and answers by itself
        # A schema cannot say that a tensor holds as many elements as its shape says, or that all have one length.
        excluded = [positive_data_acceptance]
        if response.status_code == 413:
            excluded.append(negative_data_rejection)
        case.validate_response(response, excluded_checks=excluded)

    check()


@pytest.mark.parametrize(
    "path",
    [
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/{name}",
        "/v2/models/{name}/ready",
        "/v2/models/{name}/versions/{version}",
        "/v2/models/{name}/versions/{version}/ready",
    ],
)
def test_generated_questions_about_models_get_a_described_answer(server: RealServer, path: str) -> None:
    test_generated_questions_get_a_described_answer(server, path)


@pytest.mark.parametrize("path", ["/model", "/docs", "/livez", "/readyz", "/metrics", "/openapi.json"])
def test_generated_questions_get_a_described_answer(server: RealServer, path: str) -> None:
    operation = schemathesis.openapi.from_url(f"{server.url}/openapi.json")[path]["GET"]

    @settings(max_examples=10, deadline=None, suppress_health_check=LENIENT)
    @given(case=operation.as_strategy())
    def check(case: Case) -> None:
        case.call_and_validate()

    check()


@settings(max_examples=150, deadline=None)
@given(
    method=st.sampled_from(["POST", "GET", "PUT", "QUERY"]),
    path=st.just("predict") | st.text(max_size=12),
    content=st.binary(max_size=200),
    media=st.sampled_from([*FORMATS, "text/plain", "application/json;q=1", "\x7f", ""]),
)
def test_noise_never_gets_a_5xx(server: RealServer, method: str, path: str, content: bytes, media: str) -> None:
    response = server.client.request(method, f"/{quote(path)}", content=content, headers={"content-type": media})
    assert response.status_code < 500
    assert "Traceback" not in response.text
