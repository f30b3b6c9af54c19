"""What a server refuses: other origins, acts without a key, too much, too often; and what it never tells."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.counted_client import CountedClient
from tests.serving.real_server import RealServer
from tests.serving.small_bundle import ROW
from tests.serving.toy_registry import ToyRegistry
from tests.wait import wait_for
from tideline.keys import add_key

ACTS = ("/versions/promote", "/versions/rollback", "/versions/share", "/versions/end")
LIMIT = 20_000  # bytes


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hardened")


@pytest.fixture(scope="module")
def keys(home: Path) -> dict[str, str]:
    """A key of each scope, and one for each path that takes a single request in a long time."""
    file = home / "store" / "keys.json"
    made = {scope: add_key(file, scope, [scope]) for scope in ("predict", "feedback", "admin")}
    slow = {f"slow {i}": add_key(file, f"slow {i}", ["admin"], rate=0.001) for i in range(20)}
    return {**made, **slow}


@pytest.fixture(scope="module")
def guarded(home: Path, keys: dict[str, str]) -> Iterator[RealServer]:
    """A server of a registry with keys and a small limit."""
    ToyRegistry(home)
    with RealServer(["--task", "toy"], home, TIDELINE_SERVING_MAX_BODY_BYTES=str(LIMIT)) as server:
        yield server


def list_paths(server: RealServer, method: str) -> list[str]:
    """All paths of the OpenAPI document with that method, and those that administrate."""
    described = server.client.get("/openapi.json").json()["paths"]
    found = [path.replace("{", "").replace("}", "") for path, methods in described.items() if method in methods]
    others = ACTS if method == "post" else ("/", "/versions", "/healthz", "/schema.json")
    return list(dict.fromkeys([*found, *others]))


def write_act(path: str, version: str) -> bytes:
    """What a path of ACTS takes."""
    return json.dumps({"version": version, **({"share": 0.5} if path.endswith("share") else {})}).encode()


def test_no_other_origin_is_let_in(guarded: RealServer, keys: dict[str, str]) -> None:
    origin = {"origin": "https://elsewhere.example", "authorization": f"Bearer {keys['admin']}"}
    asks = {**origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    posts, gets = list_paths(guarded, "post"), list_paths(guarded, "get")
    assert {"/predict", "/explain", "/feedback", *ACTS} <= set(posts)
    for path in [*posts, *gets]:
        answers = [guarded.client.options(path, headers=asks)]
        assert answers[0].status_code == 405, path
        answers.append(guarded.client.request("GET" if path in gets else "POST", path, headers=origin))
        for answer in answers:
            assert not [name for name in answer.headers if name.startswith("access-control")], path


@pytest.mark.parametrize("is_open", ["off", "on"])
def test_acts_need_a_key_even_from_this_machine(tmp_path: Path, is_open: str) -> None:
    registry = ToyRegistry(tmp_path)
    pointer = (registry.layout.registry / "champion.json").read_bytes()
    with RealServer(["--task", "toy"], tmp_path, TIDELINE_SERVING_OPEN=is_open) as server:
        assert server.predict([ROW]).status_code == 200
        for path in ACTS:
            for headers in ({}, {"authorization": "Bearer tl_x"}, {"x-api-key": ""}, {"host": "localhost"}):
                answer = server.client.post(path, json={"version": registry.versions[1]}, headers=headers)
                assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert (registry.layout.registry / "champion.json").read_bytes() == pointer


def test_a_key_opens_its_scope_alone(guarded: RealServer, home: Path, keys: dict[str, str]) -> None:
    pointer = (home / "registry" / "toy" / "champion.json").read_bytes()
    bodies = {"/predict": {"rows": [ROW]}, "/explain": {"rows": [ROW], "samples": 24}, "/feedback": {"labels": []}}
    opened = {"predict": {"/predict", "/explain"}, "feedback": {"/feedback"}}
    for scope in opened:
        for path in ("/predict", "/explain", "/feedback", *ACTS):
            body = bodies.get(path, {"version": "v0002"})
            answer = guarded.client.post(path, json=body, headers={"authorization": f"Bearer {keys[scope]}"})
            assert (answer.status_code == 403) is (path not in opened[scope]), (scope, path)
    assert (home / "registry" / "toy" / "champion.json").read_bytes() == pointer


def test_a_rate_holds_on_every_path(guarded: RealServer, keys: dict[str, str]) -> None:
    for number, path in enumerate(list_paths(guarded, "post")):
        headers = {"authorization": f"Bearer {keys[f'slow {number}']}"}
        first, second = (guarded.client.post(path, json={}, headers=headers) for _ in range(2))
        assert first.status_code not in (401, 403, 429), path
        assert second.status_code == 429, path
        assert 900 < int(second.headers["retry-after"]) <= 1_000


def test_bodies_are_limited_on_every_path(guarded: RealServer, keys: dict[str, str]) -> None:
    headers = {"content-type": "application/json", "authorization": f"Bearer {keys['admin']}"}
    for path in list_paths(guarded, "post"):
        announced = guarded.client.post(path, content=b" " * (LIMIT + 1), headers=headers)
        assert announced.status_code == 413, path
        connection = http.client.HTTPConnection("127.0.0.1", guarded.port, timeout=30)
        chunks = iter([b" " * 5_000] * 4 + [b" "])  # one byte more, and no content-length
        connection.request("POST", path, chunks, headers, encode_chunked=True)
        assert connection.getresponse().status == 413, path
        connection.close()
        assert guarded.client.post(path, content=b" " * LIMIT, headers=headers).status_code in (400, 404, 422), path


def test_refusals_do_not_tell_where_things_lie(guarded: RealServer, home: Path, keys: dict[str, str]) -> None:
    """The registry's own errors name files: what leaves the server does not."""
    client = CountedClient(guarded.port, home, keys["admin"])
    for path in ACTS:
        for version in ("v0001", "v0009", "../v0001", ""):
            assert client.post(path, write_act(path, version)) in (200, 409)
    ledger = home / "registry" / "toy" / "ledger.jsonl"
    content = ledger.read_bytes()
    try:
        for damage in (b"{}\n" + content, content[:-9], b""):
            ledger.write_bytes(damage)
            for path in ACTS[:1] + ACTS[2:]:
                assert client.post(path, write_act(path, "v0002")) == 409
            wanted = 409 if damage.startswith(b"{}") else 200
            wait_for(lambda wanted=wanted: client.send("GET", "/versions") == wanted)
            assert client.send("GET", "/model") == 200
    finally:
        ledger.write_bytes(content)
    assert client.leaks == [] and 500 not in client.statuses
    assert "Traceback" not in guarded.log


def test_odd_headers_do_not_break_probes(guarded: RealServer, home: Path) -> None:
    """BentoML answers these, and its access log would fail on such a header halfway through the answer."""
    client = CountedClient(guarded.port, home)
    for path in ("/schema.json", "/livez", "/readyz", "/healthz"):
        assert client.send("GET", path, headers={"content-type": "\xd4", "x-sticky-key": "\xff"}) == 200
        assert client.send("POST", path, b"x", headers={"content-type": "\xd4"}) == 405
    assert "Traceback" not in guarded.log
