"""Real faults under load: every answer that was given is in the log, and every label that was accepted, once, whatever
died meanwhile."""

from __future__ import annotations

import shutil
import sqlite3
import time
from pathlib import Path

import psutil
import pytest

from tests.machine import small_disk
from tests.predlog.postgres import PostgresServer
from tests.predlog.samples import read_history, stored_ids
from tests.serving.hammer import Hammer, kill_two_workers
from tests.serving.real_server import RealServer, workers_of
from tests.serving.small_bundle import ROW
from tests.serving.toy_registry import ToyRegistry
from tests.wait import wait_for
from tideline.bundle import Bundle
from tideline.predlog import open_store, store_url

pytestmark = pytest.mark.slow
BOTH = pytest.mark.parametrize("journal", ["off", "on"])


def serve(bundle: Bundle, home: Path, journal: str = "off", **variables: str) -> RealServer:
    settings = {"TIDELINE_SERVING_JOURNAL": journal, "TIDELINE_STORE_JOURNAL": str(home / "journal"), **variables}
    return RealServer(["--bundle", str(bundle.path)], home, **settings)


def pids_of_gauges(server: RealServer) -> set[str]:
    """Workers whose gauges count."""
    home = Path(psutil.Process(server.process.pid).environ()["BENTOML_HOME"])
    files = home.glob("prometheus_multiproc_dir/gauge_live*.db")
    return {path.stem.rpartition("_")[2] for path in files}


def kill_all(server: RealServer) -> None:
    """SIGKILL for the server and its workers at once."""
    parent = psutil.Process(server.process.pid)
    for process in [parent, *parent.children(recursive=True)]:
        process.kill()
    server.process.wait(20)


def check_log(url: str, hammer: Hammer, lost: int = 0) -> None:
    """Each answered row is there; and not many more than that, `lost` beside what was on its way."""
    answered = [name for told in hammer.answered for name in told.ids]
    with open_store(url) as store:
        stored = stored_ids(store)
    assert len(answered) == len(set(answered)) > 0
    assert set(answered) <= set(stored)
    assert len(stored) <= len(answered) + 3 * 6 * (1 + lost)  # rows a request, clients
    assert {told.status for told in hammer.told} <= {200, 503}


def check_labels(url: str, hammer: Hammer, states: set[str]) -> None:
    """Each accepted label is in the store once, with its value; what was not answered is there once or not at all.

    A label that is sent again is `repeated` if the first time it was stored, but not answered.
    """
    with open_store(url) as store:
        history = read_history(store)
    stored = {row[0]: row[1] for row in history}
    assert len(history) == len(stored) and all(row[5] for row in history)
    assert len(hammer.accepted) > 20
    assert hammer.accepted == {name: stored.get(name) for name in hammer.accepted}
    assert {state for one in hammer.labelled for state in one.states.values()} <= states
    repeated = {name for one in hammer.labelled for name, state in one.states.items() if state == "repeated"}
    without_answer = {name for one in hammer.labelled if one.status != 200 for name in one.values}
    assert repeated <= without_answer and set(stored) <= set(hammer.accepted) | without_answer
    assert {one.status for one in hammer.labelled} <= {0, 200, 503}


def wait_for_labels(hammer: Hammer) -> None:
    """More are accepted."""
    seen = len(hammer.labelled)
    wait_for(lambda: sum("accepted" in one.states.values() for one in hammer.labelled[seen:]) > 20)


def wait_until_sound(server: RealServer, hammer: Hammer, home: Path) -> None:
    """The store is back: the server is ready, answers, and has moved its journal into the store."""
    wait_for(lambda: server.client.get("/readyz").status_code == 200)
    seen = len(hammer.answered)
    wait_for(lambda: len(hammer.answered) > seen + 100)
    wait_for(lambda: not list((home / "journal").glob("*.journal")))


def statuses_since(hammer: Hammer, start: int) -> set[int]:
    return {told.status for told in hammer.told[start:]}


def test_a_worker_is_killed_under_load(regression_bundle: Bundle, tmp_path: Path) -> None:
    with serve(regression_bundle, tmp_path, TIDELINE_SERVING_WORKERS="2") as server:
        with Hammer(server.port, labels=True) as hammer:
            kill_two_workers(server, hammer)
            seen = len(hammer.answered)
            wait_for(lambda: len(hammer.answered) > seen + 200)
            wait_for_labels(hammer)
        wait_for(lambda: pids_of_gauges(server) == {str(w.pid) for w in workers_of(server)})
        assert {told.status for told in hammer.told} == {200}
        assert hammer.broken  # the connections of those that were killed
    check_log(store_url(tmp_path, {}), hammer, lost=2)
    check_labels(store_url(tmp_path, {}), hammer, {"accepted", "repeated"})


@BOTH
def test_the_whole_server_is_killed_under_load(regression_bundle: Bundle, tmp_path: Path, journal: str) -> None:
    with serve(regression_bundle, tmp_path, journal) as server, Hammer(server.port, labels=True) as hammer:
        wait_for(lambda: len(hammer.answered) > 300)
        wait_for_labels(hammer)
        if journal == "on":  # so that the last answers are in the journal alone
            shutil.move(tmp_path / "store", tmp_path / "elsewhere")
            seen = len(hammer.answered)
            wait_for(lambda: len(hammer.answered) > seen + 300)
        kill_all(server)
    if journal == "on":
        assert list((tmp_path / "journal").glob("*.journal"))
        shutil.move(tmp_path / "elsewhere", tmp_path / "store")
        with serve(regression_bundle, tmp_path, journal) as again:
            wait_for(lambda: not list((tmp_path / "journal").glob("*.journal")))
            assert again.predict([ROW]).status_code == 200
    check_log(store_url(tmp_path, {}), hammer, lost=1)
    check_labels(store_url(tmp_path, {}), hammer, {"accepted"} if journal == "off" else {"accepted", "unknown"})


@BOTH
def test_sqlite_is_locked_by_another_process(regression_bundle: Bundle, tmp_path: Path, journal: str) -> None:
    with serve(regression_bundle, tmp_path, journal) as server, Hammer(server.port) as hammer:
        wait_for(lambda: len(hammer.answered) > 100)
        other = sqlite3.connect(tmp_path / "store" / "predictions.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        seen = len(hammer.told)
        wanted = 200 if journal == "on" else 503
        wait_for(lambda: len(hammer.told) > seen + 100 and hammer.told[-1].status == wanted)
        assert statuses_since(hammer, seen + 20) == {wanted}
        assert (server.client.get("/readyz").status_code == 200) is (journal == "on")
        other.execute("ROLLBACK")
        other.close()
        wait_for(lambda: server.client.get("/readyz").status_code == 200)
        wait_for(lambda: hammer.told[-1].status == 200)
        wait_for(lambda: not list((tmp_path / "journal").glob("*.journal")))
    assert not hammer.broken
    check_log(store_url(tmp_path, {}), hammer, lost=1)


@BOTH
def test_postgresql_stops_and_starts(
    regression_bundle: Bundle, tmp_path: Path, postgres: PostgresServer, journal: str
) -> None:
    url = postgres.create_store()
    with serve(regression_bundle, tmp_path, journal, TIDELINE_STORE_URL=url) as server:
        with Hammer(server.port, labels=True) as hammer:
            wait_for(lambda: len(hammer.answered) > 100)
            wait_for_labels(hammer)
            postgres.stop()
            seen = len(hammer.told)
            wait_for(lambda: len(hammer.told) > seen + 300)
            assert statuses_since(hammer, seen + 50) == ({200} if journal == "on" else {503})
            name = hammer.answered[0].body["prediction_ids"][0]
            label = {"prediction_id": name, "label": 1.0}  # never taken, so that it is nobody's correction
            assert server.client.post("/feedback", json={"labels": [label]}).status_code == 503
            postgres.start()
            wait_until_sound(server, hammer, tmp_path)
            wait_for_labels(hammer)
        assert not hammer.broken
        assert "Traceback" not in server.log
    check_log(url, hammer, lost=2)
    expected = {"accepted", "repeated"}
    check_labels(url, hammer, expected if journal == "off" else expected | {"unknown"})


@BOTH
def test_postgresql_does_not_answer(
    regression_bundle: Bundle, tmp_path: Path, postgres: PostgresServer, journal: str
) -> None:
    url = postgres.create_store()
    with serve(regression_bundle, tmp_path, journal, TIDELINE_STORE_URL=url) as server:
        with Hammer(server.port) as hammer:
            wait_for(lambda: len(hammer.answered) > 100)
            postgres.freeze()
            try:
                seen = len(hammer.told)
                wait_for(lambda: len(hammer.told) > seen + 100)
                assert statuses_since(hammer, seen + 50) == ({200} if journal == "on" else {503})
                assert server.client.get("/livez").status_code == 200
            finally:
                postgres.freeze(False)
            wait_until_sound(server, hammer, tmp_path)
        assert not hammer.broken
    check_log(url, hammer, lost=3)


def test_a_postgresql_that_hangs_takes_nothing_else_along(tmp_path: Path, postgres: PostgresServer) -> None:
    """With a trial and a page that asks for the versions: metrics are answered, and the server ends in time."""
    registry = ToyRegistry(tmp_path)
    url, brief = postgres.create_store(), {"TIDELINE_SERVING_TIMEOUT": "1"}
    with RealServer(["--task", "toy"], tmp_path, TIDELINE_STORE_URL=url, **brief) as server:
        registry.challenge(1, share=0.5)
        wait_for(lambda: [c["is_served"] for c in server.client.get("/model").json()["challengers"]] == [True])
        assert server.predict([ROW]).status_code == 200 and server.client.get("/versions").status_code == 200
        postgres.freeze()
        try:
            asked = time.monotonic()
            while time.monotonic() < asked + 5:  # late, or without live figures
                assert server.client.get("/versions").status_code in (200, 504)
            for path in ("/metrics", "/model", "/livez"):
                assert server.client.get(path).status_code == 200
            assert server.stop() == 0
        finally:
            postgres.freeze(False)
        assert "Traceback" not in server.log


@BOTH
def test_the_disk_is_full(regression_bundle: Bundle, tmp_path: Path, journal: str) -> None:
    with small_disk(tmp_path / "small", "8m") as disk:
        url = f"sqlite:///{disk}/predictions.db"
        with serve(regression_bundle, tmp_path, journal, TIDELINE_STORE_URL=url) as server:
            with Hammer(server.port) as hammer:
                wait_for(lambda: len(hammer.answered) > 100)
                ballast = fill(disk)
                if journal == "off":
                    wait_for(lambda: hammer.told[-1].status == 503)
                else:
                    wait_for(lambda: list((tmp_path / "journal").glob("*.journal")))
                seen = len(hammer.told)
                wait_for(lambda: len(hammer.told) > seen + 300)
                assert statuses_since(hammer, seen) == ({200} if journal == "on" else {503})
                ballast.unlink()
                wait_for(lambda: server.client.get("/readyz").status_code == 200 and hammer.told[-1].status == 200)
                wait_for(lambda: not list((tmp_path / "journal").glob("*.journal")))
            assert not hammer.broken
            assert "Traceback" not in server.log
        check_log(url, hammer, lost=2)


def fill(disk: Path) -> Path:
    """Write until nothing more fits; the file that takes the room."""
    ballast = disk / "ballast"
    with pytest.raises(OSError, match="No space"), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return ballast


def test_all_of_the_servers_folder_is_on_a_full_disk_and_a_worker_starts_there(
    regression_bundle: Bundle, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "small", "8m") as disk:
        with serve(regression_bundle, disk) as server:
            with Hammer(server.port) as hammer:
                wait_for(lambda: len(hammer.answered) > 100)
                ballast = fill(disk)
                wait_for(lambda: hammer.told[-1].status == 503)
                seen = len(hammer.told)
                assert server.client.get("/metrics").status_code == 200
                wait_for(lambda: len(hammer.told) > seen + 300)
                assert not hammer.broken
                assert 503 in statuses_since(hammer, seen)  # the store's own files may still have room for some
                assert server.client.get("/livez").status_code == 200
                (worker,) = workers_of(server)
                worker.kill()
                wait_for(lambda: [w for w in workers_of(server) if w.pid != worker.pid])
                seen = len(hammer.told)
                wait_for(lambda: len(hammer.told) > seen + 300, 60)
                ballast.unlink()
                wait_for(lambda: server.client.get("/readyz").status_code == 200 and hammer.told[-1].status == 200)
            assert "Traceback" not in server.log
        check_log(store_url(disk, {}), hammer, lost=3)


def test_what_waits_is_written_when_the_server_stops(regression_bundle: Bundle, tmp_path: Path) -> None:
    with serve(regression_bundle, tmp_path) as server:
        with Hammer(server.port) as hammer:
            wait_for(lambda: len(hammer.answered) > 200)
            assert server.stop() == 0
        assert {told.status for told in hammer.told} == {200}
        assert "Traceback" not in server.log
    check_log(store_url(tmp_path, {}), hammer)
