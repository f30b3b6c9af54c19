"""Stores of both kinds, and somebody who is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.alerts.receiver import Receiver
from tests.predlog.conftest import postgres, postgres_session, sqlite_store, store, url  # noqa: F401, fixtures


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running
