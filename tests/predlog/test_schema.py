"""Tables are made once, whoever comes first; both databases hold what the code says."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from tests.predlog.samples import make_rents, stored_ids
from tideline.contracts import TidelineError
from tideline.predlog import Store, StoreUnavailable, open_store, store_url
from tideline.predlog.schema import known_revisions, read_revision
from tideline.predlog.tables import metadata


def test_migrated_store_is_what_the_tables_say(store: Store) -> None:
    with store.database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert read_revision(connection) == known_revisions()[-1]
        assert "predictions_with_labels" in sa.inspect(connection).get_view_names()


def test_many_processes_may_open_an_empty_store_together(url: str) -> None:
    context = multiprocessing.get_context("fork")
    barrier, errors = context.Barrier(6), context.SimpleQueue()

    def work(number: int) -> None:
        try:
            barrier.wait(20)
            with open_store(url) as store:
                store.append(make_rents(20, seed=number))
        except BaseException as error:
            errors.put(repr(error))
            raise

    processes = [context.Process(target=work, args=(i,)) for i in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 6, errors.get()
    with open_store(url) as store:
        assert len(set(stored_ids(store))) == 120


def test_store_of_a_newer_tideline_is_refused(url: str) -> None:
    with open_store(url) as store, store.database.connect() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v9999'")
    with pytest.raises(TidelineError, match=r"newer tideline \(migration v9999, this one knows v\d+\); upgrade"):
        open_store(url)


def test_migration_that_was_cut_off_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import command

    upgrade = command.upgrade

    def fail(*arguments: object) -> None:
        upgrade(*arguments)
        raise OSError("power cut")

    monkeypatch.setattr(command, "upgrade", fail)
    with pytest.raises(StoreUnavailable, match="power cut"):
        open_store(url)
    monkeypatch.undo()
    store = Store(url)
    with store.database.engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == []
    store.check()
    assert stored_ids(store) == []


def test_verdicts_of_before_keep_the_labels_that_they_judged(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import command

    upgrade = command.upgrade
    monkeypatch.setattr(command, "upgrade", lambda config, _: upgrade(config, "v0004"))
    open_store(url).close()
    monkeypatch.undo()
    old = Store(url)
    with old.database.engine.connect() as connection:
        for last, text in ((20, '{"checks": [{"subject": "realised error"}]}'), (40, '{"checks": []}')):
            connection.exec_driver_sql(
                "INSERT INTO verdicts (task, version, judged, first, last, rows, status, verdict) "
                f"VALUES ('rent', 'v1', 50, {last - 10}, {last}, 500, 'quiet', '{text}')"
            )
        connection.commit()
    old.check()
    assert [(v.labelled_first, v.labelled_last) for v in old.list_verdicts("rent")] == [(None, None), (10, 20)]
    assert [v.last for v in old.chain_labelled("rent", "v1", 100, 2)] == [20]
    assert [v.last for v in old.chain_verdicts("rent", "v1", 100, 2)] == [40, 20]
    old.close()


@pytest.mark.parametrize(
    "text, says",
    [
        ("mysql://root:hunter2@host/db", "mysql: a store's URL is sqlite:///PATH.db or postgresql://"),
        ("no url at all", "a store's URL is sqlite:///PATH.db or postgresql://"),
        ("sqlite://", "expected sqlite:///PATH.db"),
        ("sqlite:///x.db?mode=ro", "expected sqlite:///PATH.db"),
        ("sqlite:///x.db?synchronous=off", "synchronous is normal or full, not off"),
    ],
)
def test_bad_urls_are_explained(text: str, says: str) -> None:
    with pytest.raises(TidelineError, match=says) as caught:
        Store(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["postgresql://me:hunter2@127.0.0.1:1/db", "postgres://127.0.0.1:1/db?password=hunter2"]
)
def test_passwords_are_never_shown(text: str) -> None:
    store = Store(text)
    with pytest.raises(StoreUnavailable, match=r"not available: .*; see that PostgreSQL is up") as caught:
        store.check()
    assert "hunter2" not in str(caught.value) + store.place


def test_sqlite_is_set_up_for_many_readers_and_one_writer(tmp_path: Path) -> None:
    for setting, expected in (("", 1), ("?synchronous=full", 2)):
        with open_store(f"sqlite:///{tmp_path}/{setting[-4:]}a #b%.db{setting}") as store:
            with store.database.connect() as connection:
                found = [
                    connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
                ]
            assert found == ["wal", expected]
            assert store.database.file is not None and store.database.file.exists()


def test_folder_that_is_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreUnavailable, match=r"store/predictions\.db is not available: .*; see that its folder"):
        open_store(store_url(tmp_path, {}))


def test_store_url_comes_from_the_environment_or_the_home(tmp_path: Path) -> None:
    assert store_url(tmp_path, {}) == f"sqlite:///{tmp_path}/store/predictions.db"
    assert store_url(tmp_path, {"TIDELINE_STORE_URL": "postgresql://a/b"}) == "postgresql://a/b"
