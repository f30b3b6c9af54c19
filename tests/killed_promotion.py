"""A program that promotes, and kills itself with SIGKILL at one of its steps: KILLER ROOT STEP."""

from __future__ import annotations

KILLER = """
import os, sys
from pathlib import Path
from tests.small_task import RENT, small_params
from tideline import bundle, ledger, pointer, registry
from tideline.layout import Layout

step, params, layout = sys.argv[2], small_params(), Layout("rent", Path(sys.argv[1]))
def die(*_, **__):
    os.kill(os.getpid(), 9)
if step == "while copying":
    bundle.sync_folder = die
elif step == "before the entry":
    registry.append_entry = die
elif step == "in the entry":
    write = os.fsync
    def cut(handle):
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if path.name == "ledger.jsonl":
            os.truncate(path, path.stat().st_size - 40)
            die()
        write(handle)
    ledger.os.fsync = cut
elif step == "before the pointer":
    registry.move_pointer = die
elif step in ("in the parity sample", "in the pointer"):
    replace, folder = Path.replace, "rent" if step == "in the pointer" else "parity"
    Path.replace = lambda self, target: die() if target.parent.name == folder else replace(self, target)
elif step == "after the pointer":
    pointer.sync_folder = die
registry.promote(RENT, params, layout)
"""
STEPS = (
    "while copying",
    "in the parity sample",
    "before the entry",
    "in the entry",
    "before the pointer",
    "in the pointer",
    "after the pointer",
)
