"""A registry of small bundles, and what a server is asked to follow in it."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pandas as pd

from tests.serving.small_bundle import ROW, write_small_bundle
from tests.small_task import small_params
from tideline.bookkeeping import ledger_file
from tideline.bundle import Bundle, load_bundle
from tideline.champion import store_version, versions_folder
from tideline.layout import Layout
from tideline.ledger import append_entry
from tideline.live_parity import write_parity
from tideline.pointer import Challenger, ChallengerRole, Margins, Pointer, RouterKind, move_pointer, read_pointer
from tideline.rollout import end_trial

SHIFTS = (0.0, 1000.0, 2000.0)


class ToyRegistry:
    """Versions of a task: the nth answers SHIFTS[n] more than `expected_value`. The first is champion."""

    def __init__(self, home: Path, task: str = "toy") -> None:
        self.home, self.layout = home, Layout(task, home)
        versions_folder(self.layout).mkdir(parents=True)
        self.versions: list[str] = []
        self.digests: list[str] = []
        self.shifts: dict[str, float] = {}
        for i, shift in enumerate(SHIFTS):
            self.shifts[self.add(write_small_bundle(home / f"bundle{i}", task=task, shift=shift))] = shift
        self.point_to(0)

    def add(self, bundle: Bundle) -> str:
        """One more version, with its parity sample."""
        version = store_version(self.layout, bundle)
        frame = pd.DataFrame([{**ROW, "rooms": 1 + i, "owner": None if i % 3 else "Ada"} for i in range(20)])
        write_parity(self.layout, version, load_bundle(self.folder_of(version)), frame, small_params().export, seed=1)
        self.versions.append(version)
        self.digests.append(bundle.digest)
        return version

    def point_to(self, number: int, digest: str = "") -> None:
        """Make a version champion, as a promotion or rollback does; all trials end."""
        entry = append_entry(ledger_file(self.layout), "promoted", self.versions[number], self.digests[number])
        move_pointer(self.layout, Pointer(self.versions[number], digest or self.digests[number], entry.seq))

    def challenge(
        self,
        number: int,
        role: ChallengerRole = "canary",
        share: float = 0.5,
        margins: Margins | None = None,
        router: RouterKind = "split",
    ) -> None:
        """Set a version beside the champion."""
        pointer = read_pointer(self.layout)
        assert pointer is not None
        version, digest = self.versions[number], self.digests[number]
        entry = append_entry(ledger_file(self.layout), role, version, digest)
        since = time.time_ns() // 1000
        challenger = Challenger(version, digest, role, share, since, entry.seq, margins or Margins())
        challengers = (*pointer.challengers, challenger)
        changed = msgspec.structs.replace(pointer, seq=entry.seq, challengers=challengers, router=router)
        move_pointer(self.layout, changed)

    def end(self, number: int) -> None:
        """End a challenger's trial, as an admin does."""
        end_trial(self.layout, self.versions[number], "by hand")

    def folder(self, number: int) -> Path:
        """A version's bundle."""
        return self.folder_of(self.versions[number])

    def folder_of(self, version: str) -> Path:
        """The same by name."""
        return versions_folder(self.layout) / version
