"""Stores for the tests: SQLite files and databases of a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine import lack
from tests.predlog.postgres import PostgresServer, find_binaries
from tideline.predlog import Store, open_store


@pytest.fixture(scope="session")
def postgres_session() -> Iterator[PostgresServer]:
    binaries = find_binaries()
    if binaries is None:
        lack("PostgreSQL is not installed: apt-get install postgresql")
    server = PostgresServer(binaries)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def postgres(postgres_session: PostgresServer) -> PostgresServer:
    """A running PostgreSQL; a test may stop it."""
    if not postgres_session.is_running:
        postgres_session.start()
    return postgres_session


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty store, of both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store/predictions.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_store()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty store, of both kinds."""
    with open_store(url) as opened:
        yield opened


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path}/predictions.db") as opened:
        yield opened
