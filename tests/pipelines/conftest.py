"""One Prefect server for the slow tests, and a project whose graph a flow has built once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Project
from tests.pipelines.real_flows import PrefectServer, Program, make_project
from tests.predlog.conftest import postgres, postgres_session  # noqa: F401, fixtures


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    server = PrefectServer(tmp_path_factory.mktemp("prefect"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, data_dir: Path, server: PrefectServer) -> Project:
    """A project whose graph is up to date; its flows use the server."""
    project = make_project(tmp_path_factory.mktemp("built"), data_dir, server.url)
    run = Program(project, "pipelines.training", "housing")
    assert run.wait() == 0, run.said
    return project
