"""Where the bundle to serve lies. Imports nothing heavy: the start of the server waits for it."""

from __future__ import annotations

from pathlib import Path

from serving.settings import PACKED, Settings
from tideline.champion import champion_bundle
from tideline.contracts import TidelineError
from tideline.layout import Layout


def find_bundle(settings: Settings) -> tuple[Path, str]:
    """Folder and version of the bundle to serve: the one that the settings name, the one packed with this code, or the
    task's champion. The version of a bundle outside the registry is "" (its digest stands for it).

    Raises TidelineError if there is none.
    """
    if settings.bundle is not None:
        return settings.bundle, ""
    if PACKED.is_dir():
        folders = sorted(p for p in PACKED.iterdir() if p.is_dir())
        if len(folders) != 1:
            raise TidelineError(f"{PACKED} holds {len(folders)} bundles instead of one; pack the service again")
        return folders[0], folders[0].name
    if not settings.task:
        raise TidelineError("no task to serve; say which: `make serve TASK=housing`, or set TIDELINE_TASK")
    path = champion_bundle(Layout(settings.task, settings.home))
    return path, path.name
