"""What a test needs and the machine lacks: skipped by hand, a failure in CI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.machine import find_data, find_program, small_disk


def fill_disk(folder: Path) -> None:
    with small_disk(folder / "disk", "no size"):  # mount refuses it
        pass


@pytest.mark.parametrize(
    ("need", "said"),
    [
        (lambda folder: find_data(), "no real data"),
        (lambda folder: find_program("browsers", "no such browser"), "apt-get install browsers"),
        (fill_disk, "a tmpfs cannot be mounted"),
    ],
)
@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_what_is_missing_fails_in_ci(
    need: Callable[[Path], object],
    said: str,
    ci: str,
    outcome: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("TIDELINE_DATA_DIR", str(tmp_path))
    with pytest.raises(outcome, match=said):
        need(tmp_path)
