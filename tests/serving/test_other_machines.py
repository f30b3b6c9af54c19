"""What a server without keys says to other machines: they reach it at another address than the loopback's."""

from __future__ import annotations

import ipaddress
import json
import socket
from pathlib import Path

import httpx
import psutil
import pytest

from tests.serving.real_server import RealServer
from tests.serving.small_bundle import ROW
from tests.serving.toy_registry import ToyRegistry
from tests.wait import wait_for
from tideline.bundle import Bundle

BODIES = {
    "/predict": {"rows": [ROW]},
    "/explain": {"rows": [ROW], "samples": 24},
    "/feedback": {"labels": []},
    "/v2/models/toy/infer": {"inputs": []},
}


@pytest.fixture(scope="session")
def address() -> str:
    """An address of this machine that other machines could reach it at."""
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            if each.family == socket.AF_INET and not ipaddress.ip_address(each.address).is_loopback:
                return str(each.address)
    pytest.skip("this machine has no address but the loopback's")


def test_they_are_refused_until_there_is_a_key(regression_bundle: Bundle, tmp_path: Path, address: str) -> None:
    arguments = ["--bundle", str(regression_bundle.path)]
    with RealServer(arguments, tmp_path, TIDELINE_SERVING_HOST="0.0.0.0") as server:
        assert server.predict([ROW]).status_code == 200
        with httpx.Client(base_url=f"http://{address}:{server.port}", timeout=30, trust_env=False) as outside:
            assert outside.get("/model").status_code == 200
            for path, body in BODIES.items():
                whole = outside.post(path, json=body)
                content = json.dumps(body).encode() + b" " * 100_000  # more than is held
                large = outside.post(path, content=content, headers={"content-type": "application/json"})
                for answer in (whole, large):
                    assert answer.status_code == 401, path
                    assert "tideline keys add" in answer.text
    with RealServer(arguments, tmp_path, TIDELINE_SERVING_HOST=address, TIDELINE_SERVING_OPEN="on") as server:
        assert server.predict([ROW]).status_code == 200


def test_a_server_that_refuses_them_still_compares_what_it_is_to_serve(tmp_path: Path, address: str) -> None:
    registry = ToyRegistry(tmp_path)
    with RealServer(["--task", "toy"], tmp_path, TIDELINE_SERVING_HOST=address) as server:
        assert server.predict([ROW]).status_code == 401
        registry.point_to(1)
        wait_for(lambda: server.client.get("/model").json()["version"] == registry.versions[1])
