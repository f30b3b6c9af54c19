"""The server's settings: read once from the environment, frozen, checked."""

from __future__ import annotations

import difflib
import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from tideline.contracts import TidelineError

PREFIX = "TIDELINE_SERVING_"
ROOT = Path(__file__).resolve().parents[1]  # the folder that holds serving/
PACKED = ROOT / "champion"  # where a packed service carries its bundle: champion/<version>/


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65_536:
        raise ValueError("expected a port from 1 to 65535")
    return port


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _count(text: str) -> int:
    count = int(text.replace("_", ""))
    if count < 1:
        raise ValueError("expected a whole number of at least 1")
    return count


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 3600:
        raise ValueError("expected seconds from 0.1 to 3600")
    return seconds


def _folder(text: str) -> Path:
    return Path(text).expanduser().resolve()


def _switch(text: str) -> bool:
    if text.lower() not in _SWITCH:
        raise ValueError("expected on or off")
    return _SWITCH[text.lower()]


def _store(text: str) -> str:
    """A relative file is meant from the folder where the server is started, which it then leaves."""
    path = text.removeprefix("sqlite:///")
    return text if path in (text, "") or path.startswith(("/", ":")) else f"sqlite:///{Path(path).absolute()}"


_SWITCH = {"on": True, "true": True, "1": True, "yes": True, "off": False, "false": False, "0": False, "no": False}


def _setting(default: Any, variable: str, read: Callable[[str], Any]) -> Any:
    return field(default=default, metadata={"variable": variable, "read": read}, repr="TOKEN" not in variable)


@dataclass(frozen=True)
class Settings:
    """What the server needs to know besides its bundle; each field names its environment variable.

    task, home: whose champion is served, and the project's root where registry/ and store/ lie. bundle: a bundle's
    folder, instead of the champion. open: whether other machines are answered although no API key was ever made.
    log: whether each prediction is logged before it is answered; store: URL of the log, by default a SQLite file below
    `home`; journal: whether predictions are kept on the local disk while the store is away, and journal_folder: where.
    The limits are for one request, except that `max_pending_rows` is how many rows of large requests, and of small
    ones, may wait for their turn. `timeout` is the longest that a request may take altogether, in seconds; its body has
    to be here after 80 % of that. BentoML keeps a timer a request for that long: keep it short.
    parity_token: known to this server's processes alone (parity_check.py); the start makes one.
    """

    task: str = _setting("", "TIDELINE_TASK", str.strip)
    home: Path = _setting(ROOT, "TIDELINE_HOME", _folder)  # noqa: RUF009
    bundle: Path | None = _setting(None, "TIDELINE_BUNDLE", _folder)  # noqa: RUF009
    host: str = _setting("127.0.0.1", PREFIX + "HOST", _address)
    port: int = _setting(3000, PREFIX + "PORT", _port)
    workers: int = _setting(1, PREFIX + "WORKERS", _count)
    open: bool = _setting(False, PREFIX + "OPEN", _switch)
    keys_file: Path | None = _setting(None, "TIDELINE_KEYS_FILE", _folder)  # noqa: RUF009
    log: bool = _setting(True, PREFIX + "LOG", _switch)
    store: str = _setting("", "TIDELINE_STORE_URL", _store)
    journal: bool = _setting(False, PREFIX + "JOURNAL", _switch)
    journal_folder: Path | None = _setting(None, "TIDELINE_STORE_JOURNAL", _folder)  # noqa: RUF009
    max_rows: int = _setting(10_000, PREFIX + "MAX_ROWS", _count)
    max_explain_rows: int = _setting(16, PREFIX + "MAX_EXPLAIN_ROWS", _count)
    max_labels: int = _setting(1_000, PREFIX + "MAX_LABELS", _count)
    max_pending_rows: int = _setting(20_000, PREFIX + "MAX_PENDING_ROWS", _count)
    max_body_bytes: int = _setting(16 * 2**20, PREFIX + "MAX_BODY_BYTES", _count)
    timeout: float = _setting(10.0, PREFIX + "TIMEOUT", _seconds)
    parity_token: str = _setting("", PREFIX + "PARITY_TOKEN", str.strip)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the variables; an empty one counts as unset.

        Raises TidelineError for an unknown TIDELINE_SERVING_ key or a value that cannot be read.
        """
        readers = {f.metadata["variable"]: f for f in fields(cls)}
        values: dict[str, Any] = {}
        for key, text in environment.items():
            if key in readers and text:
                setting = readers[key]
                try:
                    values[setting.name] = setting.metadata["read"](text)
                except ValueError as error:
                    raise TidelineError(f"{key} is {text!r}: {error}") from None
            elif key not in readers and key.startswith(PREFIX):
                known = [k for k in readers if k.startswith(PREFIX)]
                close = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"
                raise TidelineError(f"unknown setting {key} in the environment; {hint}")
        return cls(**values)

    def to_environment(self) -> dict[str, str]:
        """The variables that give these settings."""
        values = ((f.metadata["variable"], getattr(self, f.name)) for f in fields(self))
        return {variable: str(value) for variable, value in values if value not in (None, "")}
