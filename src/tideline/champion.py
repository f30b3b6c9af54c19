"""Versions on the disk, and which of them is champion."""

from __future__ import annotations

import json
from pathlib import Path

from tideline.bundle import MANIFEST, Bundle, copy_bundle, load_bundle
from tideline.contracts import Manifest, TidelineError
from tideline.layout import Layout
from tideline.pointer import read_pointer


def champion_bundle(layout: Layout) -> Path:
    """Folder of the champion. Raises TidelineError if there is none."""
    pointer = read_pointer(layout)
    if pointer is None:
        raise TidelineError(missing_champion(layout))
    path = versions_folder(layout) / pointer.version
    if not path.is_dir():
        raise TidelineError(
            f"{layout.registry}/champion.json names {pointer.version}, but {path} is gone; restore it from a backup, "
            f"or `tideline rollback {layout.task} --to VERSION`"
        )
    return path


def missing_champion(layout: Layout) -> str:
    """What is to be said where there is no champion."""
    return f"{layout.task} has no champion in {layout.registry}; build and promote one: `make run TASK={layout.task}`"


def read_manifest(layout: Layout, version: str) -> Manifest:
    """The manifest of a version, as it lies there: nothing is verified. Raises TidelineError."""
    place = versions_folder(layout) / version / MANIFEST
    try:
        return Manifest.from_dict(json.loads(place.read_bytes()))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise TidelineError(f"{place} cannot be read ({error}); restore it from a backup") from error


def store_version(layout: Layout, bundle: Bundle) -> str:
    """Copy a bundle in as the next version, unless it is there already; its name."""
    for version in list_versions(layout):
        if version.endswith(f"-{bundle.digest[:8]}"):
            try:
                if load_bundle(versions_folder(layout) / version).digest == bundle.digest:
                    return version
            except TidelineError:
                continue  # a broken version keeps its number, and the bundle gets a new one
    number = max(map(_number, list_versions(layout)), default=0) + 1
    version = f"v{number:04d}-{bundle.digest[:8]}"
    copy_bundle(bundle, versions_folder(layout) / version)
    return version


def find_version(layout: Layout, name: str) -> str:
    """The version of that name (or of the part before the dash). Raises TidelineError that lists those there are."""
    versions = list_versions(layout)
    found = [v for v in versions if name in (v, v.split("-")[0])]
    if len(found) != 1:
        raise TidelineError(f"{layout.task} has no version {name!r}; there are: {', '.join(versions) or 'none'}")
    return found[0]


def list_versions(layout: Layout) -> tuple[str, ...]:
    """Names of all versions, the oldest first."""
    names = (p.name for p in versions_folder(layout).glob("v[0-9]*-*"))
    return tuple(sorted(names, key=_number))


def versions_folder(layout: Layout) -> Path:
    """Folder of all versions."""
    return layout.registry / "versions"


def _number(version: str) -> int:
    return int(version[1:].split("-")[0])
