"""Where the bundles to serve lie. Imports nothing heavy: the start of the server waits for it."""

from __future__ import annotations

from pathlib import Path

from serving.settings import PACKED, Settings
from tideline.bookkeeping import ledger_file
from tideline.bundle import Bundle, load_bundle
from tideline.champion import champion_bundle, versions_folder
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.ledger import read_ledger
from tideline.pointer import Pointer, read_pointer
from tideline.succession import check_pointer
from tideline.watch import FileWatch


def has_registry(settings: Settings) -> bool:
    """False if the settings name a bundle, or one is packed with this code."""
    return settings.bundle is None and not PACKED.is_dir()


def find_layout(settings: Settings) -> Layout:
    """The task's places. Raises TidelineError if the settings name no task."""
    if not settings.task:
        raise TidelineError("no task to serve; say which: `make serve TASK=housing`, or set TIDELINE_TASK")
    return Layout(settings.task, settings.home)


def watch_pointer(layout: Layout) -> FileWatch:
    """The file that says who serves."""
    return FileWatch(layout.registry / "champion.json")


def watch_ledger(layout: Layout) -> FileWatch:
    """The file that has to confirm it."""
    return FileWatch(ledger_file(layout))


def read_state(layout: Layout) -> Pointer:
    """The pointer, which the ledger confirms. Raises TidelineError if there is no champion, or they do not agree."""
    pointer = read_pointer(layout)
    if pointer is None:
        champion_bundle(layout)  # says that there is none
        raise TidelineError(f"{layout.registry}/champion.json has just appeared; try again")
    check_pointer(layout, read_ledger(ledger_file(layout)), pointer)
    return pointer


def open_version(layout: Layout, version: str, digest: str) -> Bundle:
    """A version of the registry, verified. Raises TidelineError if it is gone, broken, or not what was recorded."""
    path = versions_folder(layout) / version
    if not path.is_dir():
        raise TidelineError(
            f"{layout.registry}/champion.json names {version}, but {path} is gone; restore it from a backup, "
            f"or `tideline rollback {layout.task} --to VERSION`"
        )
    bundle = load_bundle(path)
    if bundle.digest != digest:
        raise TidelineError(
            f"{path} has digest {bundle.digest}, but {digest} was promoted; roll back "
            f"(`tideline rollback {layout.task}`) or restore it from a backup"
        )
    return _check_task(bundle, layout.task)


def open_bundle(settings: Settings) -> tuple[Bundle, str]:
    """The bundle to serve first, verified, and its version: the name in the registry, or the start of its digest.

    Raises TidelineError if there is none, if it is broken or not the one that the ledger names, or if it is not of the
    task that the settings ask for.
    """
    if has_registry(settings):
        layout = find_layout(settings)
        pointer = read_state(layout)
        return open_version(layout, pointer.version, pointer.digest), pointer.version
    path = _find_packed() if settings.bundle is None else settings.bundle
    bundle = _check_task(load_bundle(path), settings.task)
    return bundle, path.name if settings.bundle is None else bundle.digest[:12]


def _check_task(bundle: Bundle, task: str) -> Bundle:
    if task and bundle.manifest.task != task:
        raise TidelineError(f"asked to serve {task!r}, but {bundle.path} is a bundle of {bundle.manifest.task!r}")
    return bundle


def _find_packed() -> Path:
    folders = sorted(p for p in PACKED.iterdir() if p.is_dir())
    if len(folders) != 1:
        raise TidelineError(f"{PACKED} holds {len(folders)} bundles instead of one; pack the service again")
    return folders[0]
