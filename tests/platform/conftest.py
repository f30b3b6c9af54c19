"""A PostgreSQL server for the platform's store."""

from __future__ import annotations

from tests.predlog.conftest import postgres, postgres_session  # noqa: F401, fixtures
