"""requirements-serving.lock: the pins of requirements.lock, no training framework, and a server runs on it alone."""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.serving.real_server import ROOT, RealServer
from tests.serving.small_bundle import ROW, expected_value
from tideline.bundle import Bundle

LOCK = ROOT / "requirements-serving.lock"
FRAMEWORKS = {
    "torch", "tensorflow", "tensorflow-cpu", "keras", "scikit-learn", "scipy", "pandas", "lightgbm", "onnx", "skl2onnx",
    "evidently", "prefect", "dvc", "great-expectations", "optuna", "moto", "boto3",
}  # fmt: skip


def read_lines(place: Path) -> list[str]:
    return [line for line in place.read_text().splitlines() if line and not line.startswith("#")]


def test_it_is_what_the_command_derives(tmp_path: Path) -> None:
    script = f"import sys; sys.path.insert(0, {str(ROOT / 'infra')!r}); import pin_serving as p; "
    script += "from serving.pack import REQUIREMENTS; print(p.derive_pins(REQUIREMENTS), end='')"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == LOCK.read_text(), "run `python infra/pin_serving.py`"


def test_its_pins_are_those_of_the_whole_and_no_framework_is_among_them() -> None:
    lines = read_lines(LOCK)
    assert set(lines) < set(read_lines(ROOT / "requirements.lock"))
    names = {Requirement(line).name.lower() for line in lines}
    assert {"bentoml", "numpy", "msgspec", "psycopg"} <= names
    assert not names & FRAMEWORKS


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that finds the packages of the serving lock, and no other: links to those that are installed."""
    folder = tmp_path_factory.mktemp("serving-environment")
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    for line in read_lines(LOCK):
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        found = distribution(requirement.name)
        assert found.version.partition("+")[0] in str(requirement.specifier)
        for file in found.files or ():
            source = Path(str(found.locate_file(file)))
            if ".." in file.parts or not source.is_file():  # its commands, and what was compiled
                continue
            target = packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                target.symlink_to(source)
    return folder / "bin" / "python"


@pytest.mark.slow
def test_a_server_runs_on_them_alone(python: Path, regression_bundle: Bundle, tmp_path: Path) -> None:
    probe = "import importlib.util as u; print([n for n in ('pandas', 'torch', 'bentoml') if u.find_spec(n)])"
    told = subprocess.run([python, "-c", probe], env={}, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "['bentoml']"
    arguments = ["--bundle", str(regression_bundle.path)]
    with RealServer(arguments, tmp_path, [str(python), "-m", "serving"]) as server:
        answer = server.predict([ROW]).json()
        assert answer["predictions"] == pytest.approx([expected_value(ROW)], rel=1e-6)
        assert len(answer["prediction_ids"]) == 1
        assert server.client.get("/metrics").status_code == 200
        assert server.client.post("/explain", json={"rows": [ROW]}).status_code == 200
