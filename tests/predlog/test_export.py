"""Export is what was written, in bounded memory; pruning removes what it says and nothing else."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from tests.peak_memory import PEAK
from tests.predlog.postgres import PostgresServer
from tests.predlog.samples import COLUMNS, START, make_pets, make_rents, stored_ids
from tests.wait import wait_for
from tideline.bundle import write_bundle
from tideline.cli import main
from tideline.contracts import Column, Manifest, TidelineError
from tideline.layout import Layout
from tideline.pointer import Pointer, move_pointer
from tideline.predlog import Label, Store, journal_folder, mint_ids, open_store, store_url
from tideline.predlog.export import parse_age, parse_time
from tideline.predlog.journal import Journal
from tideline.predlog.records import pack_rows, to_rows
from tideline.predlog.tables import labels, predictions

DAY = 86_400_000_000  # µs

EXPORT = f"""{PEAK}
import sys
from pathlib import Path
import pyarrow.parquet
from tideline.predlog import open_store
from tests.predlog.samples import COLUMNS

def export(until):
    return open_store(sys.argv[1]).export("rent", Path(sys.argv[2]), until=until, columns=COLUMNS)

export(1_700_000_000_000_000 + 11_000 * 1000)  # two batches
before = peak()
rows = export(None)
print(rows, peak() - before)
"""


def test_export_of_many_rows_is_what_was_written_in_bounded_memory(store: Store, url: str, tmp_path: Path) -> None:
    n = 100_000 if store.database.dialect == "sqlite" else 20_000
    few = make_rents(1_000)
    records = [
        msgspec.structs.replace(few[i % 1_000], prediction_id=name, time=START + i * 1000, prediction=i / 7)
        for i, name in enumerate(mint_ids(n))
    ]
    for start in range(0, n, 5_000):
        store.append(records[start : start + 5_000])
    out = tmp_path / "out.parquet"
    done = subprocess.run([sys.executable, "-c", EXPORT, url, str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows, more_kb = map(int, done.stdout.split())
    assert rows == n and more_kb < 40_000  # the rows are some 100 MB as Python's values
    table = pq.read_table(out)
    for name in ("prediction_id", "prediction", "latency", "key"):
        assert table[name].to_pylist() == [getattr(r, name) for r in records]
    for column in ("size", "kind of home"):
        assert table[f"features.{column}"].to_pylist() == [r.features[column] for r in records]
    assert [p.name for p in tmp_path.glob("out*")] == ["out.parquet"]


def test_export_that_fails_leaves_the_file_as_it_was(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    out.write_bytes(b"before")
    store.append(make_rents(1, features={"size": "large"}))
    with pytest.raises(TidelineError, match="do not fit"):
        store.export("rent", out, columns=COLUMNS)
    with pytest.raises(TidelineError, match="holds no predictions of 'boats'; there are some of: rent"):
        store.export("boats", out)
    with pytest.raises(TidelineError, match="holds no predictions of 'rent' in that time"):
        store.export("rent", out, since=START + DAY)
    with pytest.raises(TidelineError, match=r"cannot be written: .*; name another place"):
        store.export("rent", Path("/proc/nothing/out.parquet"))
    assert out.read_bytes() == b"before" and [p.name for p in tmp_path.glob("out*")] == ["out.parquet"]


def test_prune_removes_what_is_old_with_its_labels_and_says_so(store: Store) -> None:
    now = time.time_ns() // 1000
    old, new = make_rents(1_200, start=now - 91 * DAY), make_rents(100, start=now - 89 * DAY)
    pets = make_pets(10, start=now - 400 * DAY)
    store.append(old + new + pets)
    labelled = old[:50] + new[:5]
    store.record_labels(
        [Label(r.prediction_id, v) for v in (1.0, 2.0) for r in labelled] + [Label(pets[0].prediction_id, "cat")]
    )
    heard: list[int] = []
    warned: list[int] = []
    done = store.prune("rent", timedelta(days=90), heard.append, warned.append)
    assert (done.predictions, done.labels) == (1_200, 100) and heard == [500, 500, 200]
    assert warned == [50]  # predictions, not labels: each was corrected once
    assert stored_ids(store) == sorted(r.prediction_id for r in new + pets)
    assert store.record_labels([Label(old[0].prediction_id, 1.0)])[0].state == "unknown"
    assert [c.labelled for c in store.counts()] == [1, 5]
    assert store.prune("rent", timedelta(days=90), warn=warned.append).predictions == 0 and warned == [50]
    with pytest.raises(TidelineError, match="name at least an hour"):
        store.prune("rent", timedelta(0))
    with pytest.raises(TidelineError, match="holds no predictions of 'boats'; there are some of: pets, rent"):
        store.prune("boats", timedelta(days=90))


def test_commands(
    store: Store, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIDELINE_STORE_URL", url)
    assert main(["log", "status"]) == 0 and "nothing is logged yet" in capsys.readouterr().out
    store.append(make_rents(250))
    store.record_labels([Label(name, 1.0) for name in stored_ids(store)[:50]])
    assert main(["log", "status"]) == 0
    status = capsys.readouterr().out
    assert store.place in status and "rent  v0001-aaaa  champion" in status and "50 labelled (20.0%)" in status
    assert (
        main(
            [
                "log",
                "export",
                "rent",
                "-o",
                "out/rents.parquet",
                "--since",
                "2023-11-14",
                "--until",
                "2023-11-14T22:13:20.1",
            ]
        )
        == 0
    )
    assert "100 predictions of rent in out/rents.parquet, features as JSON text" in capsys.readouterr().out
    assert pq.read_table("out/rents.parquet").num_rows == 100
    assert main(["log", "prune", "rent", "--older-than", "30d"]) == 0
    told = capsys.readouterr()
    assert "removed 250 predictions of rent from before 20" in told.out and stored_ids(store) == []
    assert "50 of the predictions that go have a label" in told.err and "`tideline collect rent` before" in told.err
    for arguments, says in (
        (["prune", "rent", "--older-than", "0d"], "name at least an hour"),
        (["prune", "rent", "--older-than=-5d"], "is no age; write hours, days or weeks"),
        (["prune", "rent", "--older-than", "soon"], "'soon' is no age"),
        (["export", "rent", "-o", "x.parquet", "--since", "2024-01-02", "--until", "2024-01-01"], "is not before"),
        (["export", "rent", "-o", "x.parquet", "--since", "yesterday"], "'yesterday' is no time"),
        (["export", "rent", "-o", "x.parquet"], "holds no predictions of 'rent'; there are some of: nothing yet"),
        (["replay", "nowhere"], "no journal at nowhere"),
    ):
        assert main(["log", *arguments]) == 1
        assert says in capsys.readouterr().err


def test_commands_begin_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TIDELINE_STORE_URL", raising=False)
    assert main(["log", "status"]) == 1
    assert "no store at" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_journal_left_behind_is_shown_and_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TIDELINE_STORE_URL", raising=False)
    with open_store(store_url(tmp_path)) as store:
        journal = Journal(journal_folder(tmp_path))
        journal.append(pack_rows(to_rows(make_rents(7))))
        journal.close()
        assert main(["log", "status"]) == 0 and "1 files, 0.0 MB wait for the store" in capsys.readouterr().out
        assert main(["log", "replay"]) == 0 and "7 predictions of" in capsys.readouterr().out
        assert len(stored_ids(store)) == 7 and journal.list_segments() == []


def test_champion_says_the_types_of_the_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = Layout("rent", tmp_path)
    bundle = write_bundle(layout.registry / "versions" / "v0001-aaaa", b"graph", small_manifest(COLUMNS), {})
    move_pointer(layout, Pointer("v0001-aaaa", bundle.digest, 1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TIDELINE_STORE_URL", raising=False)
    with open_store(store_url(tmp_path)) as store:
        store.append(make_rents(20))
    assert main(["log", "export", "rent", "-o", "x.parquet"]) == 0
    assert "20 predictions of rent in x.parquet, features as columns" in capsys.readouterr().out
    assert pq.read_table("x.parquet").schema.field("features.floor").type == "int64"


def test_rows_that_do_not_fit_the_champion_are_exported_by_version_or_raw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = Layout("rent", tmp_path)
    older = tuple(Column(c.name, "category") if c.name == "size" else c for c in COLUMNS)
    for name, columns in (("v0001-aaaa", older), ("v0002-bbbb", COLUMNS)):
        bundle = write_bundle(layout.registry / "versions" / name, b"graph", small_manifest(columns), {})
    move_pointer(layout, Pointer("v0002-bbbb", bundle.digest, 1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TIDELINE_STORE_URL", raising=False)
    with open_store(store_url(tmp_path)) as store:
        large = {**make_rents(1)[0].features, "size": "large"}
        store.append(make_rents(3, features=large, version="v0001-aaaa"))
        store.append(make_rents(5, version="v0002-bbbb", start=START + DAY))
    export = ["log", "export", "rent", "-o", "x.parquet"]
    assert main(export) == 1
    assert "(--raw), or with those of the version that made it (--version)" in capsys.readouterr().err
    for version, rows, kind in (("v0001", 3, "string"), ("v0002-bbbb", 5, "double")):
        assert main([*export, "--version", version]) == 0
        table = pq.read_table("x.parquet")
        assert (table.num_rows, table.schema.field("features.size").type) == (rows, kind)
    assert main([*export, "--raw"]) == 0
    assert "8 predictions of rent in x.parquet, features as JSON text\n" in capsys.readouterr().out
    assert pq.read_table("x.parquet").schema.field("features").type == "string"
    assert main([*export, "--version", "v0003"]) == 1
    assert "there are: v0001-aaaa, v0002-bbbb" in capsys.readouterr().err
    assert main([*export, "--version", "v0001", "--since", "2024-01-01"]) == 1
    assert "no predictions of 'rent' by v0001-aaaa in that time" in capsys.readouterr().err


def test_a_label_that_comes_while_its_prediction_is_pruned_goes_with_it(postgres: PostgresServer) -> None:
    locked = "datname = current_database() AND wait_event_type = 'Lock'"
    waits = sa.text(f"SELECT count(*) FROM pg_stat_activity WHERE {locked}")
    with open_store(postgres.create_store()) as store:
        store.append(make_rents(3))
        (name, *_) = stored_ids(store)
        pruner = threading.Thread(target=store.prune, args=("rent", timedelta(days=1)))
        with store.database.transaction() as connection:  # as labels.record_labels does
            row = predictions.c.prediction_id == name
            connection.execute(sa.select(predictions.c.time).where(row).with_for_update(key_share=True))
            given = {"label": 1.0, "time": START, "source": "", "is_current": True}
            connection.execute(sa.insert(labels), [{"prediction_id": name, **given}])
            pruner.start()
            with store.database.connect() as other:
                wait_for(lambda: other.execute(waits).scalar_one() == 1)
        pruner.join()
        with store.database.connect() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(labels)).scalar_one() == 0
        assert stored_ids(store) == []


def small_manifest(columns: tuple[Column, ...]) -> Manifest:
    return Manifest(
        task="rent", title="Rents", problem="regression", model="law", created="2025-01-01", columns=columns,
        target=Column("price", "number"), classes=(), clip=None, provenance={}, hashes={}, versions={}, intervals=(),
        parity={}, metrics={},
    )  # fmt: skip


def test_ages_and_times() -> None:
    assert parse_age("6w") == timedelta(weeks=6) and parse_age(" 12h") == timedelta(hours=12)
    assert parse_time("2023-11-14T22:13:20") == START == parse_time("2023-11-14T23:13:20+01:00")
    for text in ("", "d", "1.5d", "5", "5m", "1e3d", "99999999d"):
        with pytest.raises(TidelineError, match="is no age"):
            parse_age(text)
