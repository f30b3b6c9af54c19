"""Ten thousand generated requests to every path: no 5xx, nothing of the server's inside, and each answer in the log."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode

from tests.serving.counted_client import CountedClient
from tests.serving.real_server import RealServer
from tests.serving.small_bundle import ROW
from tests.serving.toy_registry import ToyRegistry
from tests.serving.written_rows import TEXTS  # noqa: F401, with it come CSV and Arrow
from tideline.keys import add_key

pytestmark = pytest.mark.slow
WANTED = 10_000
ACTS = ("/versions/promote", "/versions/rollback", "/versions/share", "/versions/end")
PAGES = (
    "/",
    "/docs",
    "/model",
    "/openapi.json",
    "/metrics",
    "/versions",
    "/livez",
    "/readyz",
    "/healthz",
    "/schema.json",
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([1e308, -0.0, 10**30]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def many(count: int) -> settings:
    """So many examples, quickly."""
    phases = (Phase.generate,)
    return settings(
        max_examples=count, deadline=None, database=None, phases=phases, suppress_health_check=list(HealthCheck)
    )


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Rows or labels with a few wrong values, keys or bytes."""
    row: dict[str, Any] = dict(ROW)
    for name in draw(st.lists(st.sampled_from([*ROW, "other"]), max_size=2)):
        row[name] = draw(VALUES)
    labels = [{"prediction_id": draw(st.text(max_size=25)), "label": draw(VALUES)}]
    act = {"version": draw(st.text(max_size=8)), "reason": "", "share": draw(VALUES)}
    body: Any = draw(
        st.sampled_from([{"rows": [row]}, {"rows": [row, ROW], "samples": 24}, {"labels": labels}, act, row])
    )
    content = json.dumps(body).encode()
    if draw(st.integers(0, 3)) == 0:
        place = draw(st.integers(0, len(content)))
        content = content[:place] + draw(st.binary(max_size=6)) + content[place + draw(st.integers(0, 3)) :]
    return content


def fuzz_described(client: CountedClient, url: str, key: str) -> None:
    """Every operation of the OpenAPI document, with what it describes and with what it does not."""
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    for found in document.get_all_operations():
        operation = found.ok()
        is_post = operation.method.upper() == "POST"
        for mode in GenerationMode:

            @many(100 if is_post else 15)
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: Case) -> None:
                response = case.call(headers={"authorization": f"Bearer {key}"})
                client.note(case.method, case.path, response.status_code, response.content, str(response.headers))

            if is_post or mode is GenerationMode.POSITIVE:
                check()


@many(1_000)
@given(content=bodies())
def send_bodies(client: CountedClient, paths: list[str], content: bytes) -> None:
    """One body to every path that takes one."""
    for path in paths:
        client.post(path, content)


@many(700)
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "QUERY"]),
    path=st.sampled_from([*PAGES, *ACTS, "/predict", "/explain", "/feedback"])
    | st.text(max_size=12).map(lambda t: f"/{quote(t)}"),
    query=st.text(max_size=8),
    content=st.binary(max_size=100),
    name=st.sampled_from(
        ["content-type", "x-sticky-key", "x-tideline-parity", "content-encoding", "accept", "range", "x-api-key"]
    ),
    value=st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=12),
)
def send_noise(
    client: CountedClient, method: str, path: str, query: str, content: bytes, name: str, value: str
) -> None:
    """Any method, path, header and body."""
    client.send(method, f"{path}?{quote(query)}", content, {name: value.strip()})


def test_no_generated_request_gets_a_5xx(tmp_path: Path) -> None:
    registry = ToyRegistry(tmp_path)
    key = add_key(tmp_path / "store" / "keys.json", "fuzz", ["admin"])
    limits = {"TIDELINE_SERVING_TIMEOUT": "60", "TIDELINE_SERVING_MAX_EXPLAIN_ROWS": "2"}
    with RealServer(["--task", "toy"], tmp_path, **limits) as server:
        client = CountedClient(server.port, tmp_path, key)
        fuzz_described(client, server.url, key)
        send_bodies(client, ["/predict", "/explain", "/feedback", *ACTS])
        send_noise(client)
        while client.sent < WANTED:
            send_bodies(client, ["/predict", "/feedback"])
        assert client.sent >= WANTED
        assert {status for status in client.statuses if status >= 500} == set()
        assert client.leaks == []
        assert client.statuses[200] > 500 and client.statuses[422] > 1_000
        assert server.client.get("/readyz").status_code == 200
        assert "Traceback" not in server.log
        assert server.stop() == 0
    with sqlite3.connect(tmp_path / "store" / "predictions.db") as log:
        ids = {name for (name,) in log.execute("SELECT prediction_id FROM predictions WHERE route = '/predict'")}
        (requests,) = log.execute("SELECT count(DISTINCT request_id) FROM predictions").fetchone()
    assert len(client.given) == len(set(client.given)) > 100 and set(client.given) <= ids
    assert requests == client.predicted.total()  # whatever the protocol and the format
    assert [e for e in registry.versions if not registry.folder_of(e).is_dir()] == []
