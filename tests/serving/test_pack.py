"""`bentoml build`: the Bento holds all it needs, and serves on its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.serving.real_server import RealServer, clean_environment
from tests.serving.small_bundle import ROW, expected_value
from tideline.bundle import Bundle


@pytest.fixture(scope="module")
def bento(regression_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a packed service."""
    home = tmp_path_factory.mktemp("store")
    environment = clean_environment(home, BENTOML_HOME=str(home))
    command = [sys.executable, "-m", "serving.pack", "--bundle", str(regression_bundle.path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    name, version = done.stdout.strip().split(":")
    assert (name, version) == ("tideline_toy", regression_bundle.digest[:12])
    return home / "bentos" / name / version


def test_it_holds_code_pins_and_bundle_and_nothing_else(bento: Path, regression_bundle: Bundle) -> None:
    packed = bento / "src"
    assert {p.name for p in packed.iterdir()} == {"serving", "tideline", "champion", "bentofile.yaml"}
    champion = packed / "champion" / regression_bundle.digest[:12]
    assert {p.name for p in champion.iterdir()} == {p.name for p in regression_bundle.path.iterdir()}
    assert not list(packed.glob("tideline/train*"))
    pins = yaml.safe_load((packed / "bentofile.yaml").read_text())["python"]["packages"]
    assert all("==" in pin for pin in pins)
    assert {"sqlalchemy", "alembic", "psycopg"} <= {pin.partition("==")[0] for pin in pins}
    assert list(packed.glob("tideline/migrations/versions/v0001_*.py"))
    assert sum(pin.startswith("onnxruntime") for pin in pins) == 1


def test_it_serves_without_project_and_registry(bento: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "bentoml", "serve", str(bento), "--host", "127.0.0.1"]
    variables = {"BENTOML_HOME": str(tmp_path / "home"), "PYTHONPATH": ""}
    with RealServer([], tmp_path, command, **variables) as server:
        answer = server.predict([ROW]).json()
        assert answer["predictions"] == pytest.approx([expected_value(ROW)], rel=1e-6)
        assert answer["model"]["version"] == bento.name
        label = {"prediction_id": answer["prediction_ids"][0], "label": 1.5}
        feedback = server.client.post("/feedback", json={"labels": [label]}).json()
        assert feedback["labels"][0]["state"] == "accepted"


def test_without_a_champion_the_way_out_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving.pack", "--task", "bikes"]
    done = subprocess.run(command, env=clean_environment(tmp_path), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "make run TASK=bikes" in done.stderr
