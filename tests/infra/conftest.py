"""A small bundle, and a registry that a real server follows."""

from __future__ import annotations

from tests.serving.conftest import following, registry, regression_bundle, server  # noqa: F401, fixtures
