"""Nobody at the keyboard: a server, the schedules, and a world that changes; a new version serves by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.e2e.conftest import Project, set_params
from tests.pipelines.real_flows import SCHEDULES, PrefectServer, Program, copy_built
from tests.retraining.replay import to_features
from tests.serving.real_server import RealServer
from tests.wait import wait_for
from tideline.catalog import get_task
from tideline.client import Client
from tideline.layout import Layout
from tideline.ledger import read_ledger
from tideline.succession import PROMOTED

pytestmark = pytest.mark.slow

HOUSING = get_task("housing")


@pytest.fixture
def own(built: Project, tmp_path: Path) -> Iterator[Project]:
    """A copy of the built project with a champion, a Prefect server, and schedules of seconds."""
    prefect = PrefectServer(tmp_path / "prefect")
    prefect.start()
    project = copy_built(built, tmp_path / "own")
    project.env["PREFECT_API_URL"] = prefect.url
    params = yaml.safe_load((project.path / "params.yaml").read_text())
    schedules = {**SCHEDULES, "monitoring": "every 15 seconds", "retraining": "every 20 seconds"}
    set_params(
        project,
        flows={**params["flows"], "schedules": schedules},
        monitoring={**params["monitoring"], "persist": 1},  # one window stands for the weeks that do not pass here
    )
    yield project
    prefect.kill()


def send(url: str, rows: pd.DataFrame) -> None:
    """Ask for predictions, and say what turned out to be true."""
    with Client(url) as client:
        for start in range(0, len(rows), 500):
            part = rows[start : start + 500]
            answer = client.predict([to_features(HOUSING, row) for row in part.to_dict("records")])
            assert answer.prediction_ids is not None
            client.feedback(dict(zip(answer.prediction_ids, part["median_house_value"].tolist(), strict=True)))


def test_prices_fall_and_a_new_version_serves(own: Project) -> None:
    """Homes that the model has not seen, of a world in which all are a quarter cheaper."""
    layout = Layout("housing", own.path)
    frame = pd.read_parquet(layout.split / "train.parquet").sample(2_000, random_state=1).reset_index(drop=True)
    frame = frame.assign(longitude=frame["longitude"] + 0.003, median_house_value=frame["median_house_value"] * 0.75)
    deployments: Program | None = None
    try:
        with RealServer(["--task", "housing"], own.path) as server:
            first = server.client.get("/model").json()["version"]
            deployments = Program(own, "pipelines.deployments", "--task", "housing")
            send(server.url, frame)
            wait_for(lambda: server.client.get("/model").json()["version"].startswith("v0002"), 420)
            send(server.url, frame[:10])
            assert server.client.get("/readyz").status_code == 200
    except AssertionError as error:
        raise AssertionError(deployments.said[-6000:] if deployments else "no deployments") from error
    finally:
        if deployments is not None:
            deployments.kill_tree()
    entries = read_ledger(layout.registry / "ledger.jsonl").entries
    promoted = [entry.version for entry in entries if entry.action == PROMOTED]
    assert promoted[0] == first and len(promoted) == 2
    story = own.tideline("why", "housing", "v0002")
    assert "realised error" in story and "labelled rows" in story
