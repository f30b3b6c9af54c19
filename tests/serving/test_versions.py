"""The server follows the registry's pointer: no restart, no failed request, no mixed answer."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
import time

import pytest

from tests.serving.hammer import Hammer, Told
from tests.serving.real_server import RealServer
from tests.serving.small_bundle import ROW, expected_value
from tests.serving.toy_registry import ToyRegistry
from tests.wait import wait_for
from tideline.pointer import Pointer, move_pointer


def check_consistent(registry: ToyRegistry, told: list[Told]) -> None:
    """Each answer is wholly that of the version it names, in the log as well."""
    with sqlite3.connect(registry.home / "store" / "predictions.db") as connection:
        rows = connection.execute("SELECT prediction_id, version, prediction FROM predictions")
        logged = {name: (version, prediction) for name, version, prediction in rows}
    for answer in told:
        expected = [expected_value(row) + registry.shifts[answer.version] for row in answer.rows]
        assert answer.body["predictions"] == pytest.approx(expected, rel=1e-6)
        assert [logged[name] for name in answer.ids] == [(answer.version, p) for p in answer.body["predictions"]]


def check_in_step(told: list[Told], moved: float, until: float, wanted: str) -> None:
    """After a move the old version's last answer comes soon (a second on a quiet machine), then it never returns."""
    late = [one.at - moved for one in told if moved <= one.at < until and one.version != wanted]
    assert max(late, default=0.0) < 3.0


@pytest.mark.parametrize("workers", [1, 2])
def test_promotion_and_rollback_under_load(registry: ToyRegistry, workers: int) -> None:
    moves = []
    with RealServer(["--task", "toy"], registry.home, TIDELINE_SERVING_WORKERS=str(workers)) as server:
        with Hammer(server.port, fresh=workers > 1) as hammer:
            wait_for(lambda: len({told.worker for told in hammer.told}) == workers)
            for number in (0, 1, 0, 2):
                wanted, seen = registry.versions[number], len(hammer.told)
                registry.point_to(number)
                moves.append((time.monotonic(), wanted))

                def told_by(wanted: str = wanted, seen: int = seen) -> set[str]:
                    return {told.worker for told in hammer.told[seen:] if told.version == wanted}

                wait_for(lambda told_by=told_by: len(told_by()) == workers)  # each worker has it
                # And none goes back: 100 answers in a row come from it.
                wait_for(lambda wanted=wanted: {told.version for told in hammer.told[-100:]} == {wanted})
        assert not hammer.broken
        assert {told.status for told in hammer.told} == {200}
        assert {told.version for told in hammer.told} == set(registry.versions)
        assert len({told.worker for told in hammer.told}) == workers
        for (moved, wanted), until in zip(moves, [*(at for at, _ in moves[1:]), math.inf], strict=True):
            check_in_step(hammer.told, moved, until, wanted)
        check_consistent(registry, hammer.told)
        assert "Traceback" not in server.log


def test_descriptions_follow_the_version(registry: ToyRegistry, following: RealServer) -> None:
    registry.point_to(1)
    wait_for(lambda: following.client.get("/model").json()["version"] == registry.versions[1])
    model = following.client.get("/model").json()
    assert (model["digest"], model["pending_error"]) == (registry.digests[1], None)
    assert following.client.get("/openapi.json").json()["info"]["version"] == registry.versions[1]

    def read() -> set[str]:
        return {line for line in following.client.get("/metrics").text.splitlines() if "tideline_" in line}

    served = f'tideline_model_info{{name="by_hand",task="toy",version="{registry.versions[1]}"}} 1.0'
    assert served in read()
    assert served.replace(registry.versions[1], registry.versions[0]).replace(" 1.0", " 0.0") in read()
    assert 'tideline_version_switches_total{task="toy"} 1.0' in read()


def damage(registry: ToyRegistry, fault: str) -> str:
    """Point to a version that cannot be served; what is said about it."""
    if fault == "model":
        model = registry.folder(1) / "model.onnx"
        content = bytearray(model.read_bytes())
        content[100] ^= 1
        model.write_bytes(content)
        registry.point_to(1)
        return "model.onnx has sha256"
    if fault == "digest":
        registry.point_to(1, digest="f" * 64)
        return f"with digest {'f' * 64}, the ledger's champion is"
    if fault == "ledger":
        pointer = Pointer(registry.versions[1], registry.digests[1], 7)  # nothing in the ledger says so
        move_pointer(registry.layout, pointer)
        return "comes from entry 7, the ledger ends at 1"
    if fault == "answers":
        sample = registry.layout.registry / "parity" / f"{registry.versions[1]}.json"
        content = json.loads(sample.read_text())
        content["answers"][3] += 1.0
        sample.write_text(json.dumps(content))
        registry.point_to(1)
        return "fails parity: served, row 3 of its sample gives"
    if fault == "gone":
        shutil.rmtree(registry.folder(1))
        registry.point_to(1)
        return "is gone"
    (registry.layout.registry / "champion.json").write_text("{")
    return "cannot be read"


@pytest.mark.parametrize("fault", ["model", "digest", "gone", "pointer", "ledger", "answers"])
def test_what_cannot_be_served_leaves_the_old_version(registry: ToyRegistry, following: RealServer, fault: str) -> None:
    with Hammer(following.port, clients=2) as hammer:
        said = damage(registry, fault)
        wait_for(lambda: following.client.get("/model").json()["pending_error"])
        pending = following.client.get("/model").json()["pending_error"]
        assert said in pending["error"]
        assert str(registry.home) not in pending["error"]
        assert pending["version"] == ("" if fault == "pointer" else registry.versions[1])
        assert 'tideline_version_load_failures_total{task="toy"}' in following.client.get("/metrics").text
        assert following.client.get("/readyz").status_code == 200
        if fault == "pointer":
            (registry.layout.registry / "champion.json").unlink()
        registry.point_to(2)
        wait_for(lambda: following.client.get("/model").json()["version"] == registry.versions[2])
        assert following.client.get("/model").json()["pending_error"] is None
    assert not hammer.broken
    assert {told.status for told in hammer.told} == {200}
    assert {told.version for told in hammer.told} <= {registry.versions[0], registry.versions[2]}
    check_consistent(registry, hammer.told)
    assert said in following.log and f"{registry.versions[0]} goes on" in following.log


def test_a_version_that_is_mended_is_served(registry: ToyRegistry, following: RealServer) -> None:
    model = registry.folder(1) / "model.onnx"
    content = model.read_bytes()
    damage(registry, "model")
    wait_for(lambda: following.client.get("/model").json()["pending_error"])
    model.write_bytes(content)
    wait_for(lambda: following.client.get("/model").json()["version"] == registry.versions[1])
    assert following.predict([ROW]).json()["predictions"] == pytest.approx([expected_value(ROW) + 1000.0], rel=1e-6)
