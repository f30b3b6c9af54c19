"""A file that gets another content at once, while what it held stays beside it under another name."""

from __future__ import annotations

import os
from pathlib import Path

from tideline.bundle import sync_folder, write_durably


def replace_file(path: Path, content: bytes, version: str) -> str:
    """Let a file hold this, and keep what it held under a name that is returned; empty if it held nothing else."""
    try:
        before = path.read_bytes()
    except FileNotFoundError:
        before = content
    kept = ""
    if before != content:
        copy = _name_copy(path, before, version)
        if not copy.exists():
            swap_file(copy, before)
        kept = copy.name
    swap_file(path, content)
    return kept


def _name_copy(path: Path, content: bytes, version: str) -> Path:
    """The first name that is free, or whose file holds this very content."""
    number = 1
    while True:
        tail = "" if number == 1 else f"-{number}"
        copy = path.with_name(f"{path.stem}.before-{version}{tail}{path.suffix}")
        if not copy.exists() or copy.read_bytes() == content:
            return copy
        number += 1


def swap_file(path: Path, content: bytes) -> None:
    """Give a file this content, all at once."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    write_durably(temporary, content)
    temporary.replace(path)
    sync_folder(path.parent)
