"""Generated requests: whatever comes, the answer is a described one and never a 5xx."""

from __future__ import annotations

from collections import Counter
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.serving.real_server import RealServer

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
        else:
            case.validate_response(response)

    check()
    if mode is GenerationMode.POSITIVE:
        assert statuses[200] > 20  # what is described is taken
    else:
        assert statuses.keys() & {400, 415, 422}


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
    media=st.sampled_from(["application/json", "text/plain", "application/json;q=1", "\x7f", ""]),
)
def test_noise_never_gets_a_5xx(server: RealServer, method: str, path: str, content: bytes, media: str) -> None:
    response = server.client.request(method, f"/{quote(path)}", content=content, headers={"content-type": media})
    assert response.status_code < 500
    assert "Traceback" not in response.text
