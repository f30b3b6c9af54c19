"""Small bundles, and one real server of each problem for the whole session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.predlog.conftest import postgres, postgres_session  # noqa: F401, fixtures
from tests.serving.real_server import RealServer
from tests.serving.small_bundle import write_small_bundle
from tests.serving.toy_registry import ToyRegistry
from tideline.bundle import Bundle


@pytest.fixture(scope="session")
def regression_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_small_bundle(tmp_path_factory.mktemp("regression") / "bundle")


@pytest.fixture(scope="session")
def classification_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_small_bundle(tmp_path_factory.mktemp("classification") / "bundle", "classification")


@pytest.fixture(scope="session")
def server(regression_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """Serves the regression bundle with small limits."""
    home: Path = tmp_path_factory.mktemp("home")
    arguments = ["--bundle", str(regression_bundle.path)]
    limits = {
        "TIDELINE_SERVING_MAX_ROWS": "500",
        "TIDELINE_SERVING_MAX_BODY_BYTES": "200_000",
        "TIDELINE_SERVING_TIMEOUT": "2.5",
    }
    with RealServer(arguments, home, **limits) as running:
        yield running


@pytest.fixture
def registry(tmp_path: Path) -> ToyRegistry:
    return ToyRegistry(tmp_path)


@pytest.fixture
def following(registry: ToyRegistry) -> Iterator[RealServer]:
    """A server of the registry's champion."""
    with RealServer(["--task", "toy"], registry.home) as server:
        yield server
