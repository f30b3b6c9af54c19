"""Generated requests: whatever comes, the answer is a described one and never a 5xx."""

from __future__ import annotations

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.specs.openapi.schemas import OpenApiSchema

from tests.serving.real_server import RealServer

LENIENT = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture]


@pytest.fixture(scope="session")
def api(server: RealServer) -> OpenApiSchema:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(max_examples=150, deadline=None, suppress_health_check=LENIENT, derandomize=True)
def test_generated_requests_get_a_described_answer(case: Case) -> None:
    case.call_and_validate()


@settings(max_examples=200, deadline=None, suppress_health_check=LENIENT)
@given(
    method=st.sampled_from(["POST", "GET", "PUT", "QUERY"]),
    path=st.one_of(st.just("predict"), st.text(st.characters(codec="ascii", exclude_characters="?#"), max_size=12)),
    content=st.binary(max_size=200),
    media=st.sampled_from(["application/json", "text/plain", "application/json;q=1", "\x7f", ""]),
)
def test_noise_gets_a_4xx(server: RealServer, method: str, path: str, content: bytes, media: str) -> None:
    url = httpx.URL(server.url).copy_with(raw_path=b"/" + path.encode("ascii").translate(None, bytes(range(33))))
    response = server.client.request(method, url, content=content, headers={"content-type": media})
    assert response.status_code < 500
    assert "Traceback" not in response.text
