"""Real faults on real stores: what was acknowledged is there, each record once, whatever died meanwhile."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests import machine
from tests.predlog.postgres import PostgresServer
from tests.predlog.samples import make_rents, stored_ids, wait_for
from tideline.predlog import Label, Receipt, Record, Store, StoreUnavailable, Writer, open_store
from tideline.predlog import database as database_module
from tideline.predlog import replay as replay_module
from tideline.predlog import watchdog as watchdog_module
from tideline.predlog.journal import Journal
from tideline.predlog.records import pack_rows, to_rows

# Writes small groups for ever, and says after each which ids were acknowledged.
WRITER = """
import sys
from collections import deque
from pathlib import Path
from tideline.predlog import Store
from tests.predlog.samples import make_rents

with Store(sys.argv[1]).writer(Path(sys.argv[2]) if len(sys.argv) > 2 else None) as writer:
    waiting = deque()
    for i in range(10**9):
        records = make_rents(1 + i % 7, seed=i)
        waiting.append((records, writer.submit(records)))
        if len(waiting) >= 20:
            records, future = waiting.popleft()
            print(future.result().place, *(r.prediction_id for r in records), flush=True)
"""


def run_until_killed(arguments: list[str], lines: int) -> list[list[str]]:
    """Output lines of a writing process that is killed with SIGKILL after so many."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(lines)]
    process.kill()
    said += process.stdout.read().splitlines(keepends=True)
    assert process.wait() == -signal.SIGKILL
    return [line.split() for line in said if line.endswith("\n")]


def test_killed_process_has_stored_what_it_acknowledged(store: Store, url: str) -> None:
    said = run_until_killed([url], 150) + run_until_killed([url], 60)
    acknowledged = {name for place, *names in said for name in names}
    assert {place for place, *_ in said} == {"store"} and len(acknowledged) > 500
    assert acknowledged <= set(stored_ids(store))
    assert store.counts()[0].predictions < len(acknowledged) + 2 * 21 * 7  # what was on its way, and no more


def test_journal_of_a_killed_process_is_taken_over(url: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    journal = tmp_path / "journal"
    if url.startswith("sqlite"):
        place = tmp_path / "store"
        place.write_text("a file where the folder should be")
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        server.stop()
    said = run_until_killed([url, str(journal)], 100)
    acknowledged = {name for place_name, *names in said for name in names}
    assert {place_name for place_name, *_ in said} == {"journal"} and len(acknowledged) > 300
    place.unlink() if url.startswith("sqlite") else server.start()
    with open_store(url) as store, store.writer(journal) as writer:
        wait_for(lambda: not list(journal.glob("*.journal")))
        found = stored_ids(store)
        assert acknowledged <= set(found) and writer.state.replayed == len(found)


class Load:
    """Submits a few records every two milliseconds and keeps what became of them."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.sent: list[tuple[list[Record], Future[Receipt]]] = []

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            records = make_rents(3, seed=len(self.sent))
            self.sent.append((records, self.writer.submit(records)))
            time.sleep(0.002)

    def settle(self) -> tuple[set[str], set[str]]:
        """Ids that were acknowledged, and those that failed with StoreUnavailable, as all others must."""
        acknowledged: set[str] = set()
        failed: set[str] = set()
        for records, future in self.sent:
            error = future.exception(20)
            assert error is None or isinstance(error, StoreUnavailable)
            (failed if error else acknowledged).update(r.prediction_id for r in records)
        return acknowledged, failed


def restart_under_load(store: Store, server: PostgresServer, journal: Path | None) -> tuple[Load, list[str]]:
    with store.writer(journal) as writer:
        load = Load(writer)
        load.run(0.3)
        server.stop()
        load.run(0.5)
        assert not writer.state.connected
        assert "is not available" in writer.state.error and "see that PostgreSQL is up" in writer.state.error
        server.start()
        wait_for(lambda: writer.state.connected)
        load.run(0.3)
        # Restarted between two groups: nobody notices.
        before = len(load.sent)
        wait_for(lambda: writer.state.pending == 0)
        server.stop()
        server.start()
        load.run(0.2)
        wait_for(lambda: writer.state.pending == 0)
        assert all(future.exception() is None for _, future in load.sent[before:])
        wait_for(lambda: journal is None or not list(journal.glob("*.journal")))
        return load, stored_ids(store)


def test_postgresql_restarted_under_writing(postgres: PostgresServer) -> None:
    with open_store(postgres.create_store()) as store:
        load, found = restart_under_load(store, postgres, None)
        acknowledged, failed = load.settle()
        assert failed and len(acknowledged) > 300
        assert acknowledged <= set(found) <= acknowledged | failed and len(found) == len(set(found))


def test_postgresql_restarted_under_writing_with_a_journal(postgres: PostgresServer, tmp_path: Path) -> None:
    with open_store(postgres.create_store()) as store:
        load, found = restart_under_load(store, postgres, tmp_path / "journal")
        acknowledged, failed = load.settle()
        assert not failed and acknowledged == set(found) and len(found) == len(set(found))
        places = {future.result().place for _, future in load.sent}
        assert places == {"store", "journal"}


def test_postgresql_that_does_not_answer(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(watchdog_module, "STUCK_SECONDS", 0.5)
    records = make_rents(20)
    with open_store(postgres.create_store()) as store, store.writer(tmp_path / "journal") as writer:
        assert writer.submit(records[:5]).result(10).place == "store"
        postgres.freeze()
        try:
            waiting, labels = writer.submit(records[5:10]), writer.submit_labels([Label(records[0].prediction_id, 1.0)])
            assert waiting.result(20).place == "journal"
            with pytest.raises(StoreUnavailable):
                labels.result(20)
            assert writer.submit(records[10:]).result(20).place == "journal"
        finally:
            postgres.freeze(False)
        wait_for(lambda: stored_ids(store) == [r.prediction_id for r in records])
        assert writer.submit_labels([Label(records[0].prediction_id, 1.0)]).result(10)[0].state == "accepted"


def test_table_held_by_another_process(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_POSTGRES_OPTIONS", "-c lock_timeout=100ms")
    url = postgres.create_store()
    with open_store(url) as store, closing(psycopg.connect(url)) as holder:
        holder.execute("LOCK TABLE predictions IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable, match=r"lock timeout .*; another process holds it for long"):
            store.counts()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with machine.small_disk(tmp_path / "disk", "2m") as disk:
        yield disk


def test_disk_full_and_free_again(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_200_000))
    with open_store(f"sqlite:///{small_disk}/predictions.db") as store, store.writer() as writer:
        sent = []
        for i in range(200):
            records = make_rents(50, seed=i)
            sent.append((records, writer.submit(records)))
            if sent[-1][1].exception(20):
                break
        with pytest.raises(StoreUnavailable, match="disk is full; free space on its disk"):
            sent[-1][1].result()
        with pytest.raises(StoreUnavailable):  # at once, while it is being sought
            writer.submit(make_rents(50)).result(20)
        assert stored_ids(store) == [r.prediction_id for records, future in sent[:-1] for r in records]
        ballast.unlink()
        wait_for(lambda: not writer.submit(make_rents(1)).exception(20))
        assert writer.state.connected


def test_disk_full_with_a_journal_elsewhere(small_disk: Path, tmp_path: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_500_000))
    with open_store(f"sqlite:///{small_disk}/predictions.db") as store, store.writer(tmp_path / "journal") as writer:
        records = [make_rents(20, seed=i) for i in range(70)]
        receipts = [writer.submit(part).result(20) for part in records]
        assert {receipt.place for receipt in receipts} == {"store", "journal"}
        ballast.unlink()
        wait_for(lambda: not list((tmp_path / "journal").glob("*.journal")))
        assert stored_ids(store) == [r.prediction_id for part in records for r in part]


def test_disk_full_with_the_journal_on_it_acknowledges_nothing_more(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(1_500_000))
    with open_store(f"sqlite:///{small_disk}/predictions.db") as store, store.writer(small_disk / "journal") as writer:
        sent = [(part, writer.submit(part)) for part in (make_rents(100, seed=i) for i in range(60))]
        acknowledged = [r.prediction_id for part, future in sent if not future.exception(20) for r in part]
        with pytest.raises(StoreUnavailable, match=r"full.*; journal .* cannot be written: No space left"):
            sent[-1][1].result()
        (small_disk / "ballast").unlink()
        wait_for(lambda: not list((small_disk / "journal").glob("*.journal")))
        assert set(acknowledged) <= set(stored_ids(store))


def test_file_that_is_taken_away_and_put_back(tmp_path: Path) -> None:
    file, away = tmp_path / "store" / "predictions.db", tmp_path / "away"
    with open_store(f"sqlite:///{file}") as store, store.writer() as writer:
        first = make_rents(10)
        writer.submit(first).result(10)
        file.parent.rename(away)
        with pytest.raises(StoreUnavailable, match=r"store/predictions\.db is not available"):
            writer.submit(make_rents(10)).result(10)
        time.sleep(0.3)
        assert not file.exists(), "an empty store in its place would hide what it holds"
        with pytest.raises(StoreUnavailable, match="tried again by itself"):
            writer.submit(make_rents(10)).result(10)
        with pytest.raises(StoreUnavailable):
            writer.submit_labels([Label(first[0].prediction_id, 1.0)]).result(10)
        away.rename(file.parent)
        wait_for(lambda: writer.state.connected)
        writer.submit(make_rents(5)).result(10)
        assert {r.prediction_id for r in first} <= set(stored_ids(store))


def test_file_that_is_replaced_by_another(tmp_path: Path) -> None:
    file = tmp_path / "predictions.db"
    with open_store(f"sqlite:///{tmp_path}/backup.db") as backup:
        backup.append(make_rents(3))
    with open_store(f"sqlite:///{file}") as store, store.writer() as writer:
        records = make_rents(10)
        writer.submit(records).result(10)
        assert len(stored_ids(store)) == 10
        (tmp_path / "backup.db").rename(file)
        (tmp_path / "predictions.db-wal").unlink()
        (tmp_path / "predictions.db-shm").unlink()
        assert store.record_labels([Label(records[0].prediction_id, 1.0)])[0].state == "unknown"
        with pytest.raises(StoreUnavailable, match="replaced"):
            writer.submit(make_rents(1)).result(10)
        wait_for(lambda: writer.state.connected)
        writer.submit(make_rents(2)).result(10)
        assert len(stored_ids(store)) == 5


def test_store_held_by_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.2)
    with open_store(f"sqlite:///{tmp_path}/predictions.db") as store, store.writer(tmp_path / "journal") as writer:
        blocker = sqlite3.connect(tmp_path / "predictions.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        records = make_rents(30)
        assert writer.submit(records).result(10).place == "journal"
        answers = writer.submit_labels([Label(records[0].prediction_id, 1.0)])
        with pytest.raises(StoreUnavailable, match="another process holds it"):
            answers.result(10)
        blocker.close()
        wait_for(lambda: stored_ids(store) == [r.prediction_id for r in records])


def test_label_for_what_waits_in_the_journal_may_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "SCAN_SECONDS", 0.2)
    other = Journal(tmp_path / "journal")  # of another process, which still appends to it
    (record,) = make_rents(1)
    other.append(pack_rows(to_rows([record])))
    with open_store(f"sqlite:///{tmp_path}/predictions.db") as store, store.writer(tmp_path / "journal") as writer:
        (answer,) = writer.submit_labels([Label(record.prediction_id, 1.0)]).result(10)
        assert answer.state == "unknown" and "wait in the journal: send it again later" in answer.reason
        other.close()
        wait_for(lambda: stored_ids(store), 20)
        assert writer.submit_labels([Label(record.prediction_id, 1.0)]).result(10)[0].state == "accepted"


@pytest.mark.slow
def test_killed_at_random_moments(store: Store, url: str, tmp_path: Path) -> None:
    draw = random.Random(5)
    acknowledged: set[str] = set()
    for _ in range(12):
        said = run_until_killed([url, str(tmp_path / "journal")], draw.randrange(1, 120))
        acknowledged |= {name for _, *names in said for name in names}
    assert acknowledged <= set(stored_ids(store))
