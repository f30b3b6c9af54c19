"""The prediction store goes away under the flows that need it: a clear failure, nothing half-written, and the work done
once when it is back."""

from __future__ import annotations

import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psycopg
import pytest
import yaml

from tests.e2e.conftest import Project, set_params
from tests.pipelines.logged import log_answers
from tests.pipelines.real_flows import Program, copy_built
from tests.predlog.postgres import PostgresServer
from tests.wait import wait_for
from tideline.layout import Layout
from tideline.ledger import read_ledger
from tideline.predlog import Store, open_store, store_url
from tideline.retraining.journal import read_lines

pytestmark = pytest.mark.slow

PASSWORD = "hunter2-of-the-store"
ROWS = 1500
HISTORY = {"windows": [1.0], "half_lives": [], "blocks": 2, "block_days": 0.003, "model": "hist_gradient_boosting"}
WRITTEN = ("registry", "data/housing/labelled", "data/housing/quarantine", "models", "reports", "dvc.lock")


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Project:
    """A copy of the built project whose champion serves; one bad window is an alarm, and calls for a retraining."""
    copy = copy_built(built, tmp_path / "project")
    changes = {"monitoring": {"persist": 1}, "flows": {"retries": 1, "retry_delay": 0.1}}
    changes["retraining"] = {"labels": 100, "fresh_rows": 20, "history": HISTORY}
    settings = yaml.safe_load((copy.path / "params.yaml").read_text())
    set_params(copy, **{section: {**settings[section], **keys} for section, keys in changes.items()})
    return copy


@dataclass(frozen=True)
class Away:
    """A store on PostgreSQL that is stopped while a flow reads it."""

    server: PostgresServer
    project: Project
    url: str

    def run_broken(self, module: str) -> str:
        """What a flow said whose store ended while it read, and was away when it tried again."""
        with closing(psycopg.connect(self.url)) as connection:
            connection.execute("LOCK TABLE predictions IN ACCESS EXCLUSIVE MODE")
            run = Program(self.project, module, "housing")
            try:
                wait_for(lambda: self._count_waiting() or run.process.poll() is not None, 120)
                assert run.process.poll() is None, run.said
                self.server.stop()
                assert run.wait(120) == 1, run.said
            finally:
                run.kill_all()
        return run.said

    def _count_waiting(self) -> int:
        with psycopg.connect(self.url) as connection:
            found = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
        return int(found[0]) if found else 0

    def open(self) -> Store:
        """The store, after its return."""
        if not self.server.is_running:
            self.server.start()
        return open_store(self.url)


@pytest.fixture
def away(project: Project, postgres: PostgresServer) -> Away:
    """A log of a changed world in PostgreSQL, whose URL holds a password."""
    url = postgres.create_store().replace("tideline@", f"tideline:{PASSWORD}@")
    project.env["TIDELINE_STORE_URL"] = url
    with open_store(url) as store:
        log_changed(store, project)
    return Away(postgres, project, url)


def log_changed(store: Store, project: Project, **columns: float) -> None:
    """Labelled answers to homes that were never seen, and are worth little more than half; `columns`: the same in all
    of them."""
    frame = pd.read_parquet(Layout("housing", project.path).raw / "data.parquet").sample(ROWS, random_state=1)
    changed = frame.assign(longitude=frame["longitude"] + 0.003, median_house_value=frame["median_house_value"] * 0.6)
    start = time.time_ns() // 1000 - 7_200_000_000
    log_answers(store, project.path, changed.assign(**columns), start, labelled=True)


def read_written(project: Project) -> dict[str, bytes]:
    """What flows write, but for locks."""
    places = [project.path / name for name in WRITTEN]
    files = [path for place in places for path in ([place] if place.is_file() else place.rglob("*"))]
    return {
        str(path.relative_to(project.path)): path.read_bytes()
        for path in files
        if path.is_file() and (path.suffix != ".lock" or path.name == "dvc.lock")
    }


def list_actions(project: Project) -> list[str]:
    """What the ledger holds."""
    return [entry.action for entry in read_ledger(Layout("housing", project.path).registry / "ledger.jsonl").entries]


def assert_clear(said: str, flow: str, place: str, way_out: str) -> None:
    """The last line is the whole message, and a password is nowhere."""
    last = said.splitlines()[-1]
    assert last.startswith((f"{flow}: Failed: ", "  tideline retrain: ")), last
    assert place in last and " is not available: " in last and way_out in last
    assert PASSWORD not in said


def test_monitoring_whose_store_ends_while_it_reads(away: Away, project: Project) -> None:
    before = read_written(project)
    said = away.run_broken("pipelines.monitoring")
    assert_clear(said, "monitoring", f"tideline:***@127.0.0.1:{away.server.port}/postgres", "see that PostgreSQL is up")
    assert "terminating connection" in said or "server closed the connection" in said  # it was at work
    assert read_written(project) == before
    with away.open() as store:
        assert store.list_verdicts("housing") == []
        again = Program(project, "pipelines.monitoring", "housing")
        assert again.wait() == 0, again.said
        (verdict,) = store.list_verdicts("housing")
        assert verdict.status == "alarm" and verdict.rows == 500
    assert len(list((project.path / "reports/housing/drift").glob("*.html"))) == 1


def test_retraining_whose_store_ends_while_it_reads(away: Away, project: Project) -> None:
    project.run(sys.executable, "-m", "pipelines.monitoring", "housing")  # the alarm that calls for it
    before = read_written(project)
    said = away.run_broken("pipelines.retraining")
    assert_clear(said, "retraining", f"tideline:***@127.0.0.1:{away.server.port}/postgres", "see that PostgreSQL is up")
    assert "terminating connection" in said or "server closed the connection" in said
    assert read_written(project) == before
    with away.open():
        for outcome in ("acted", "nothing to do"):
            run = Program(project, "pipelines.retraining", "housing")
            assert run.wait() == 0 and f"retraining of housing: {outcome}" in run.said, run.said
    assert list_actions(project) == ["promoted", "promoted"]
    assert [line.event for line in read_lines(Layout("housing", project.path).decisions)] == [
        "begin",
        "end",
        "told",
        "wait",
    ]


def test_flows_whose_store_is_held_by_another_process(project: Project) -> None:
    """SQLite can still be read then: a verdict cannot be kept, and nobody can be told of bad rows."""
    with open_store(store_url(project.path, {})) as store:
        log_changed(store, project, housing_median_age=7.0)  # a column that stands still: nothing to learn from
        file = str(store.database.file)
        before = read_written(project)
        watch = run_held(project, file, "pipelines.monitoring")
        assert_clear(watch, "monitoring", file, "another process holds it for long: end that process")
        assert read_written(project) == before and store.list_verdicts("housing") == []
        project.run(sys.executable, "-m", "pipelines.monitoring", "housing")
        assert [verdict.status for verdict in store.list_verdicts("housing")] == ["alarm"]

    said = run_held(project, file, "pipelines.retraining")
    assert_clear(said, "retraining", file, "another process holds it for long: end that process; the next run tells it")
    assert "has ended (quarantined), but nobody could be told" in said.splitlines()[-1]
    (window,) = (project.path / "data/housing/quarantine").iterdir()
    assert list_told(file) == []
    for _ in range(2):
        run = Program(project, "pipelines.retraining", "housing")
        assert run.wait() == 0 and "retraining of housing: nothing to do" in run.said, run.said
    assert list_told(file) == [("retraining", "alarm")]
    assert list((project.path / "data/housing/quarantine").iterdir()) == [window]
    assert list_actions(project) == ["promoted", "quarantined"]


def run_held(project: Project, file: str, module: str) -> str:
    """What a flow said that failed while another process held SQLite's one place for a writer."""
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        run = Program(project, module, "housing")
        try:
            assert run.wait() == 1, run.said
        finally:
            run.kill_all()
    return run.said


def list_told(file: str) -> list[tuple[str, str]]:
    """Source and status of each alert about retraining."""
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute("SELECT source, status FROM alerts WHERE source = 'retraining'").fetchall()
    return [(str(source), str(status)) for source, status in found]
