"""Settings: read from the environment, frozen, checked."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from serving.settings import ROOT, Settings
from tideline.contracts import TidelineError


def test_defaults_stand_without_variables() -> None:
    settings = Settings.from_environment({"PATH": "/bin"})
    assert (settings.host, settings.port, settings.home) == ("127.0.0.1", 3000, ROOT)
    assert settings.bundle is None


def test_variables_are_read_and_an_empty_one_is_unset(tmp_path: Path) -> None:
    settings = Settings.from_environment(
        {
            "TIDELINE_TASK": "bikes",
            "TIDELINE_HOME": str(tmp_path),
            "TIDELINE_SERVING_PORT": "",
            "TIDELINE_DATA_DIR": "x",
        }
    )
    assert (settings.task, settings.home, settings.port) == ("bikes", tmp_path, 3000)


def test_settings_survive_the_way_through_the_environment(tmp_path: Path) -> None:
    settings = Settings(
        task="digits", home=tmp_path, bundle=tmp_path / "b", port=3999, max_rows=7, timeout=0.5, log=False
    )
    assert Settings.from_environment(settings.to_environment()) == settings


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("TIDELINE_SERVING_MAXROWS", "5", "did you mean TIDELINE_SERVING_MAX_ROWS?"),
        ("TIDELINE_SERVING_PORT", "70000", "TIDELINE_SERVING_PORT is '70000'"),
        ("TIDELINE_SERVING_PORT", "http", "TIDELINE_SERVING_PORT is 'http'"),
        ("TIDELINE_SERVING_HOST", "localhost", "'localhost' does not appear to be an IPv4 or IPv6 address"),
        ("TIDELINE_SERVING_MAX_ROWS", "0", "at least 1"),
        ("TIDELINE_SERVING_TIMEOUT", "nan", "expected seconds"),
        ("TIDELINE_SERVING_LOG", "maybe", "expected on or off"),
    ],
)
def test_what_cannot_be_meant_is_refused(key: str, value: str, said: str) -> None:
    with pytest.raises(TidelineError, match="TIDELINE_SERVING_") as caught:
        Settings.from_environment({key: value})
    assert said in str(caught.value)


def test_a_relative_store_is_meant_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def read(url: str) -> str:
        return Settings.from_environment({"TIDELINE_STORE_URL": url}).store

    assert read("sqlite:///log.db?synchronous=full") == f"sqlite:///{tmp_path}/log.db?synchronous=full"
    assert read("sqlite:////var/log.db") == "sqlite:////var/log.db"
    assert read("postgresql://u@h/d") == "postgresql://u@h/d"
