"""The labelled snapshot is whole or not there: killed writers, a full disk, two at once."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import machine
from tests.retraining.homes import HOMES, make_homes
from tests.retraining.replay import START
from tests.retraining.test_split import label
from tideline.contracts import TidelineError
from tideline.history_rows import History
from tideline.labelled import DATA, ensure_folder, read_snapshot, write_snapshot
from tideline.layout import Layout
from tideline.predlog import Store, open_store
from tideline.retraining.snapshot import collect

CHOICE = History().to_dict()
OLD, NEW = label(make_homes(10, 10)), label(make_homes(30, 10))

KILLER = """
import os, sys
from pathlib import Path
from tests.retraining.test_snapshot import NEW, CHOICE
from tideline import labelled
from tideline.layout import Layout

step, layout = sys.argv[2], Layout("homes", Path(sys.argv[1]))
def die(*_, **__):
    os.kill(os.getpid(), 9)
if step == "before the rows are flushed":
    labelled.write_durably = die
elif step == "before it is complete":
    labelled.sync_folder = die
else:
    names = {"complete": ".labelled.next", "old one moved": ".labelled.old", "in place": "labelled"}
    rename = Path.rename
    def then_die(self, target):
        rename(self, target)
        if Path(target).name == names[step]:
            die()
    Path.rename = then_die
labelled.write_snapshot(layout, NEW, {"rows": len(NEW)}, CHOICE)
"""


def digest(layout: Layout) -> str:
    content = b"".join(p.read_bytes() for p in sorted(layout.labelled.iterdir()))
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout("homes", tmp_path)
    write_snapshot(made, OLD, {"rows": len(OLD)}, CHOICE)
    return made


@pytest.fixture
def pruned(tmp_path: Path) -> Iterator[Store]:
    """A log that has forgotten all rows of the snapshot."""
    with open_store(f"sqlite:///{tmp_path}/log.db") as store:
        yield store


def test_the_same_rows_are_the_same_bytes_and_come_back(layout: Layout, tmp_path: Path) -> None:
    other = Layout("homes", tmp_path / "other")
    write_snapshot(other, OLD.copy(), {"rows": len(OLD)}, CHOICE)
    assert digest(other) == digest(layout)
    found = read_snapshot(layout)
    assert found is not None and found.frame.equals(OLD) and found.history == History()


def test_an_empty_folder_is_made_and_no_other_is_touched(layout: Layout, tmp_path: Path) -> None:
    before = digest(layout)
    ensure_folder(layout)
    assert digest(layout) == before
    empty = Layout("homes", tmp_path / "empty")
    ensure_folder(empty)
    assert empty.labelled.is_dir() and read_snapshot(empty) is None


@pytest.mark.parametrize(
    ("step", "rows"),
    [
        ("before the rows are flushed", 100),
        ("before it is complete", 100),
        ("complete", 300),
        ("old one moved", 300),
        ("in place", 300),
    ],
)
def test_a_killed_writer_leaves_the_old_snapshot_or_the_new_one(
    layout: Layout, pruned: Store, step: str, rows: int
) -> None:
    done = subprocess.run([sys.executable, "-c", KILLER, str(layout.root), step], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    left = sorted(layout.labelled.parent.iterdir())
    for settled in (False, True):
        if settled:
            ensure_folder(layout)
        found = read_snapshot(layout)
        assert found is not None and len(found.frame) == rows
        assert len(collect(HOMES, layout, pruned, START).rows) == rows
        assert settled or sorted(layout.labelled.parent.iterdir()) == left  # a dry run may read it, too
    assert [p.name for p in layout.labelled.parent.iterdir() if p.is_dir()] == ["labelled"]
    written = write_snapshot(layout, NEW, {"rows": len(NEW)}, CHOICE)
    assert len(written.frame) == 300


def test_damage_is_named(layout: Layout) -> None:
    with (layout.labelled / DATA).open("ab") as file:
        file.write(b"x")
    with pytest.raises(TidelineError, match=r"is damaged \(data.parquet has sha256 .*`dvc checkout`"):
        read_snapshot(layout)
    (layout.labelled / "manifest.json").write_text(json.dumps({}))
    with pytest.raises(TidelineError, match=r"is damaged \(KeyError"):
        read_snapshot(layout)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with machine.small_disk(tmp_path / "disk", "256k") as disk:
        yield disk


def test_a_full_disk_leaves_the_former_snapshot(small_disk: Path) -> None:
    layout = Layout("homes", small_disk)
    write_snapshot(layout, OLD, {"rows": len(OLD)}, CHOICE)
    before = digest(layout)
    large = label(make_homes(2_000, 10))
    with pytest.raises(TidelineError, match=r"cannot be written .*the former snapshot stays"):
        write_snapshot(layout, large, {"rows": len(large)}, CHOICE)
    assert digest(layout) == before
    assert [p.name for p in layout.labelled.parent.iterdir() if p.is_dir()] == ["labelled"]
    assert len(write_snapshot(layout, NEW, {"rows": len(NEW)}, CHOICE).frame) == 300
