"""Has a file changed? Asked cheaply and often; a file that is replaced by renaming is seen as changed."""

from __future__ import annotations

import os
from pathlib import Path


class FileWatch:
    """Remembers what the file was when it was asked last."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._path, self._seen = str(file), _NEVER

    def has_changed(self) -> bool:
        """True the first time, and whenever the file is another one than at the last call."""
        try:
            found = os.stat(self._path)  # noqa: PTH116, asked several times a second
            stamp = found.st_ino, found.st_mtime_ns, found.st_size
        except OSError:
            stamp = 0, 0, 0
        changed, self._seen = stamp != self._seen, stamp
        return changed


_NEVER = (-1, -1, -1)
