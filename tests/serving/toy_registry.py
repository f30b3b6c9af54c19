"""A registry of small bundles, and what a server is asked to follow in it."""

from __future__ import annotations

from pathlib import Path

from tests.serving.small_bundle import write_small_bundle
from tideline.champion import store_version, versions_folder
from tideline.layout import Layout
from tideline.pointer import Pointer, move_pointer, read_pointer

SHIFTS = (0.0, 1000.0, 2000.0)


class ToyRegistry:
    """Versions of the task `toy`: the nth answers SHIFTS[n] more than `expected_value`. The first is champion."""

    def __init__(self, home: Path) -> None:
        self.home, self.layout = home, Layout("toy", home)
        versions_folder(self.layout).mkdir(parents=True)
        bundles = [write_small_bundle(home / f"bundle{i}", shift=shift) for i, shift in enumerate(SHIFTS)]
        self.versions = [store_version(self.layout, bundle) for bundle in bundles]
        self.digests = [bundle.digest for bundle in bundles]
        self.shifts = dict(zip(self.versions, SHIFTS, strict=True))
        self.point_to(0)

    def point_to(self, number: int, digest: str = "") -> None:
        """Move the pointer, as a promotion or rollback does last."""
        before = read_pointer(self.layout)
        seq = before.seq + 1 if before else 1
        move_pointer(self.layout, Pointer(self.versions[number], digest or self.digests[number], seq))

    def folder(self, number: int) -> Path:
        """A version's bundle."""
        return versions_folder(self.layout) / self.versions[number]
