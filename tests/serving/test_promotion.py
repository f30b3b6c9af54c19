"""A real promotion through the gate, a refused one, and a rollback, while clients ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.serving.hammer import Hammer
from tests.serving.real_server import RealServer
from tests.small_registry import build_template, submit
from tests.small_task import RENT
from tests.wait import wait_for
from tideline.layout import Layout
from tideline.predlog import open_store, store_url
from tideline.registry import rollback


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the bundles poor, good and better."""
    return build_template(tmp_path_factory.mktemp("rents"))


def test_the_gate_moves_what_is_served(project: Path) -> None:
    layout = Layout(RENT.name, project)
    served = [submit(layout, "poor").version]

    def serves(version: str) -> bool:
        return bool(server.client.get("/model").json()["version"] == version)

    with RealServer(["--task", RENT.name], project) as server:
        row: dict[str, Any] = server.client.get("/openapi.json").json()["components"]["schemas"]["Row"]["examples"][0]
        with Hammer(server.port, clients=4, row=row) as hammer:
            served.append(submit(layout, "better").version)
            wait_for(lambda: serves(served[1]))
            assert not submit(layout, "good").accepted
            assert serves(served[1])
            assert rollback(layout).version == served[0]
            wait_for(lambda: serves(served[0]))
        assert not hammer.broken
        assert {told.status for told in hammer.told} == {200}
        assert {told.version for told in hammer.told} == set(served)
        by_version = {told.version: told.body["predictions"][0] for told in hammer.told}
        assert len(set(by_version.values())) == 2
        assert all(told.body["predictions"][0] == pytest.approx(by_version[told.version]) for told in hammer.told)
    with open_store(store_url(project, {})) as store:
        logged = {count.version: count.predictions for count in store.counts()}
    told_rows = {v: sum(len(told.ids) for told in hammer.told if told.version == v) for v in served}
    assert logged == told_rows
