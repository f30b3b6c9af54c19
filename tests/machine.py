"""What tests need of the machine: without it they are skipped, but fail in CI, where nobody reads what was skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[1]


def lack(what: str) -> NoReturn:
    """Skip the test for what is missing; where the environment variable CI is set, fail it."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def find_program(package: str, *names: str) -> str:
    """Path of the first of these programs that there is; all are of one Debian package."""
    found = next(filter(None, map(shutil.which, names)), None)
    return found or lack(f"{names[0]} is not installed: apt-get install {package}")


def find_data() -> Path:
    """Folder with housing.csv and bikes_hour.csv: TIDELINE_DATA_DIR's, or shared/datasets beside the project."""
    folder = Path(os.environ.get("TIDELINE_DATA_DIR", ROOT.parent / "shared" / "datasets")).resolve()
    if not (folder / "housing.csv").exists():
        lack("no real data: set TIDELINE_DATA_DIR to a folder with housing.csv and bikes_hour.csv")
    return folder


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A new folder with a file system of that size, such as `2m`."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode != 0:
        lack(f"no disk to fill, a tmpfs cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
