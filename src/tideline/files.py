"""Files that are whole or not there: written under another name, then renamed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file beside `path`, then give it its name; folders are made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    write(part)
    part.replace(path)


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON."""
    text = json.dumps(value, indent=1, default=_plain) + "\n"
    write_file(path, lambda part: part.write_text(text))


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy's scalars and arrays
        return value.tolist()
    return dict(value)
