"""A project that installs the wheel is told the types of the client."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.machine import ROOT

PROGRAM = """
from tideline.client import Client

with Client("http://localhost:3000") as client:
    reveal_type(client.predict([{"size": 3.5}]).prediction_ids)
    client.feedback(7)
"""


def run(*command: str | Path, cwd: Path) -> str:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MYPYPATH")}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


def test_another_project_sees_the_types_of_the_client(tmp_path: Path) -> None:
    source, other = tmp_path / "source", tmp_path / "other"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    build = "from setuptools import build_meta; build_meta.build_wheel('.')"
    said = run(sys.executable, "-c", build, cwd=source)
    wheels = list(source.glob("*.whl"))
    assert len(wheels) == 1, said
    run(sys.executable, "-m", "venv", "--without-pip", other, cwd=tmp_path)
    (packages,) = other.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheels[0]).extractall(packages)
    (other / "program.py").write_text(PROGRAM)
    said = run(sys.executable, "-m", "mypy", "--python-executable", other / "bin" / "python", "program.py", cwd=other)
    assert 'Revealed type is "tuple[str, ...]"' in said, said
    assert 'Argument 1 to "feedback" of "Client" has incompatible type "int"' in said
