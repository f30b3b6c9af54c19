"""Promotions that are killed or come two at once, a cut ledger, and broken canaries, while a server answers."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from tests.killed_promotion import KILLER, STEPS
from tests.serving.hammer import Hammer, kill_two_workers
from tests.serving.real_server import RealServer, clean_environment
from tests.serving.toy_registry import ToyRegistry
from tests.small_registry import PARAMS, build_template, offer
from tests.small_task import RENT, ROOT, ship, write_project
from tests.wait import wait_for
from tideline.champion import champion_bundle
from tideline.layout import Layout
from tideline.pointer import read_pointer
from tideline.registry import history, promote, status

pytestmark = pytest.mark.slow


def serves(server: RealServer, version: str) -> bool:
    return bool(server.client.get("/model").json()["version"] == version)


def start_promotion(root: Path, step: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", KILLER, str(root), step], cwd=ROOT, stderr=subprocess.PIPE)


def check_answers(hammer: Hammer, promoted: set[str]) -> None:
    """Nothing failed, and each version is one that was promoted and has one answer to the one row."""
    assert not hammer.broken
    assert {told.status for told in hammer.told} == {200}
    values = defaultdict(list)
    for told in hammer.told:
        values[told.version] += told.body["predictions"]
    assert set(values) <= promoted
    for found in values.values():
        assert found == pytest.approx([found[0]] * len(found), rel=1e-6)
    firsts = sorted(found[0] for found in values.values())
    assert all(b - a > 1e-3 * a for a, b in pairwise(firsts))


def test_promotions_killed_at_every_step_under_load(tmp_path: Path) -> None:
    layout = write_project(tmp_path, RENT)
    ship(layout, RENT, 2.0)
    promoted = {promote(RENT, PARAMS, layout).version}
    with RealServer(["--task", RENT.name], tmp_path) as server:
        row = server.client.get("/openapi.json").json()["components"]["schemas"]["Row"]["examples"][0]
        with Hammer(server.port, clients=3, row=row) as hammer:
            for number, step in enumerate(STEPS, start=1):
                ship(layout, RENT, 2.0 + number / 7)  # better each time
                killed = start_promotion(tmp_path, step)
                assert killed.wait(60) == -signal.SIGKILL, killed.communicate()[1]
                promoted.add(champion_bundle(layout).name)
                seen = len(hammer.answered)
                wait_for(lambda seen=seen: len(hammer.answered) > seen + 30)
                verdict = promote(RENT, PARAMS, layout)
                assert verdict.accepted, (step, verdict.reasons)
                promoted.add(verdict.version)
                wait_for(lambda version=verdict.version: serves(server, version))
        check_answers(hammer, promoted)
        assert len(promoted) == len(STEPS) + 1
        assert hammer.told[-1].version == champion_bundle(layout).name
        assert status(layout).warnings == ()
        assert "Traceback" not in server.log


def test_two_promotions_at_once_leave_one_champion_that_is_served(tmp_path: Path) -> None:
    layout, other = Layout(RENT.name, build_template(tmp_path / "one")), tmp_path / "two"
    offer(layout, "poor")
    promoted = {promote(RENT, PARAMS, layout).version}
    shutil.copytree(layout.root, other, ignore=shutil.ignore_patterns("registry"))
    (other / "registry").symlink_to(layout.root / "registry")
    offer(layout, "good")
    offer(Layout(RENT.name, other), "better")
    with RealServer(["--task", RENT.name], layout.root) as server:
        row = server.client.get("/openapi.json").json()["components"]["schemas"]["Row"]["examples"][0]
        with Hammer(server.port, clients=3, row=row) as hammer:
            both = [start_promotion(root, "alive") for root in (layout.root, other)]
            assert [run.wait(120) for run in both] == [0, 0], [run.communicate()[1] for run in both]
            pointer = read_pointer(layout)
            assert pointer is not None
            wait_for(lambda: serves(server, pointer.version))
        entries = history(layout).entries  # read and verified, each hash of them
        assert [e.action for e in entries] in (["promoted"] * 3, ["promoted", "promoted", "refused"])
        promoted |= {e.version for e in entries if e.action == "promoted"}
        check_answers(hammer, promoted)
        assert pointer.seq == max(e.seq for e in entries if e.action == "promoted")
        better = (other / "models" / RENT.name / "bundle" / "bundle.sha256").read_text().split()[0]
        assert pointer.digest == better and status(layout).warnings == ()


def test_a_ledger_that_is_cut_under_a_server_is_named_and_mended(tmp_path: Path) -> None:
    registry = ToyRegistry(tmp_path, "housing")  # the command line knows the tasks of the catalogue
    registry.point_to(1)
    ledger = registry.layout.registry / "ledger.jsonl"
    with RealServer(["--task", "housing"], tmp_path) as server, Hammer(server.port, clients=2) as hammer:
        wait_for(lambda: len(hammer.answered) > 50)
        content = ledger.read_bytes()
        ledger.write_bytes(content[: content.index(b"\n") + 30])
        wait_for(lambda: server.client.get("/model").json()["pending_error"])
        pending = server.client.get("/model").json()["pending_error"]
        assert "comes from entry 2, the ledger ends at 1" in pending["error"]
        assert "tideline rollback housing --to VERSION" in pending["error"] and str(tmp_path) not in pending["error"]
        assert serves(server, registry.versions[1]) and server.client.get("/readyz").status_code == 200

        refused = subprocess.run(
            [sys.executable, "-m", "serving", "--task", "housing"],
            env=clean_environment(tmp_path), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert refused.returncode == 1 and "tideline rollback housing --to VERSION" in refused.stderr

        command = [sys.executable, "-m", "tideline.cli", "rollback", "housing", "--to", "v0003"]
        done = subprocess.run(command, env=clean_environment(tmp_path), cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        wait_for(lambda: serves(server, registry.versions[2]))
        assert server.client.get("/model").json()["pending_error"] is None
        assert [e.action for e in history(registry.layout).entries] == ["promoted", "recovered", "rolled back"]
        wait_for(lambda: hammer.told[-1].version == registry.versions[2])
    assert not hammer.broken and {t.status for t in hammer.told} == {200}
    assert {t.version for t in hammer.told} == set(registry.versions[1:])


@pytest.mark.parametrize(
    ("file", "said"), [("model.onnx", "has sha256"), ("manifest.json", "has sha256"), ("", "gone")]
)
def test_a_broken_canary_takes_no_traffic(tmp_path: Path, file: str, said: str) -> None:
    registry = ToyRegistry(tmp_path)
    if file:
        content = bytearray((registry.folder(1) / file).read_bytes())
        content[100] ^= 1
        (registry.folder(1) / file).write_bytes(content)
    else:
        shutil.rmtree(registry.folder(1))
    with RealServer(["--task", "toy"], tmp_path) as server:
        with Hammer(server.port, clients=3) as hammer:
            registry.challenge(1, share=0.9)
            registry.challenge(2, role="shadow")
            wait_for(lambda: len(server.client.get("/model").json()["challengers"]) == 2)
            wait_for(lambda: server.client.get("/model").json()["challengers"][1]["is_served"])
            canary = server.client.get("/model").json()["challengers"][0]
            assert not canary["is_served"] and said in canary["error"] and str(tmp_path) not in canary["error"]
            seen = len(hammer.answered)
            wait_for(lambda: len(hammer.answered) > seen + 200)
        assert not hammer.broken and {t.status for t in hammer.told} == {200}
        assert {t.version for t in hammer.told} == {registry.versions[0]}
        assert server.client.get("/model").json()["pending_error"] is None


def test_a_worker_is_killed_during_a_trial(tmp_path: Path) -> None:
    registry = ToyRegistry(tmp_path)
    canary, shadow = registry.versions[1], registry.versions[2]
    registry.challenge(1, share=0.4)
    registry.challenge(2, role="shadow")
    with RealServer(["--task", "toy"], tmp_path, TIDELINE_SERVING_WORKERS="2") as server:
        with Hammer(server.port) as hammer:
            wait_for(lambda: {canary} <= {t.version for t in hammer.answered})
            kill_two_workers(server, hammer)
            seen = len(hammer.answered)
            wait_for(lambda: canary in {t.version for t in hammer.answered[seen:]})
        assert hammer.broken and {t.status for t in hammer.told} == {200}
    given = {name: told.version for told in hammer.answered for name in told.ids}
    with sqlite3.connect(tmp_path / "store" / "predictions.db") as log:
        rows = log.execute("SELECT prediction_id, request_id, version, role FROM predictions").fetchall()
    answers = {name: (version, role) for name, _, version, role in rows if role != "shadow"}
    roles = {registry.versions[0]: "champion", canary: "canary"}
    assert set(given) <= set(answers)
    assert all(answers[name] == (version, roles[version]) for name, version in given.items())
    assert len(answers) <= len(given) + 3 * 6 * 3  # rows a request, clients, kills and the end
    beside = [request for _, request, version, role in rows if role == "shadow" and version == shadow]
    assert 0 < len(beside) == len(set(beside)) <= len(answers) and set(beside) <= set(answers)
