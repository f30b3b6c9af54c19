"""Where the bundle to serve lies. Imports nothing heavy: the start of the server waits for it."""

from __future__ import annotations

from pathlib import Path

from serving.settings import PACKED, Settings
from tideline.bundle import Bundle, load_bundle
from tideline.champion import champion_bundle
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.pointer import read_pointer
from tideline.watch import FileWatch


def find_pointer(settings: Settings) -> FileWatch | None:
    """The pointer that says what to serve; None if the settings name a bundle, or one is packed with this code."""
    if settings.bundle is not None or PACKED.is_dir():
        return None
    return FileWatch(Layout(settings.task, settings.home).registry / "champion.json")


def read_version(settings: Settings) -> str:
    """The version that the pointer names; empty if it cannot be read."""
    try:
        pointer = read_pointer(Layout(settings.task, settings.home))
    except (TidelineError, OSError):
        return ""
    return pointer.version if pointer else ""


def open_bundle(settings: Settings) -> tuple[Bundle, str]:
    """The bundle to serve, verified, and its version: the name in the registry, or the start of its digest.

    Raises TidelineError if there is none, if it is broken or not the one that was promoted, or if it is not of the task
    that the settings ask for.
    """
    path, version, promoted = _find_bundle(settings)
    bundle = load_bundle(path)
    if promoted and bundle.digest != promoted:
        raise TidelineError(
            f"{path} has digest {bundle.digest}, but {promoted} was promoted; roll back "
            f"(`tideline rollback {settings.task}`) or restore it from a backup"
        )
    if settings.task and bundle.manifest.task != settings.task:
        raise TidelineError(f"asked to serve {settings.task!r}, but {path} is a bundle of {bundle.manifest.task!r}")
    return bundle, version or bundle.digest[:12]


def _find_bundle(settings: Settings) -> tuple[Path, str, str]:
    """Folder, version and promoted digest: of the bundle that the settings name (which has neither), of the one packed
    with this code (which has no digest), or of the task's champion."""
    if settings.bundle is not None:
        return settings.bundle, "", ""
    if PACKED.is_dir():
        folders = sorted(p for p in PACKED.iterdir() if p.is_dir())
        if len(folders) != 1:
            raise TidelineError(f"{PACKED} holds {len(folders)} bundles instead of one; pack the service again")
        return folders[0], folders[0].name, ""
    if not settings.task:
        raise TidelineError("no task to serve; say which: `make serve TASK=housing`, or set TIDELINE_TASK")
    layout = Layout(settings.task, settings.home)
    while True:
        pointer, path = read_pointer(layout), champion_bundle(layout)
        if pointer is not None and pointer.version == path.name:  # it was not moved between the two
            return path, path.name, pointer.digest
