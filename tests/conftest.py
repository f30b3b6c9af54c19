"""What tests share: the real data's folder, a project with bundles, a browser, and a clean environment."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.machine import find_data, find_program
from tests.small_registry import build_template
from tideline.layout import Layout

os.environ.update(
    DVC_NO_ANALYTICS="1",
    DO_NOT_TRACK="1",
    BENTOML_DO_NOT_TRACK="True",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    TF_CPP_MIN_LOG_LEVEL="3",
)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with housing.csv and bikes_hour.csv."""
    return find_data()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with three finished bundles; tests work on copies."""
    return build_template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def layout(template: Path, tmp_path: Path) -> Layout:
    """A copy of that project, with nothing in its registry."""
    shutil.copytree(template, tmp_path / "project")
    return Layout("rent", tmp_path / "project")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium browser."""
    return find_program("chromium", "chromium", "chromium-browser", "google-chrome")
