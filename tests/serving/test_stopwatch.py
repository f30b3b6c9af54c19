"""Latencies are compared on one row, and begin anew with each trial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from serving.live_model import LiveModel
from serving.stopwatch import Stopwatch
from tests.serving.small_bundle import COLUMNS, write_small_bundle
from tideline.bundle import Bundle, load_bundle, write_bundle
from tideline.predlog import NONE


def open_model(path: Path, version: str, most_rooms: float = 1000.0, rooms: int = 10) -> LiveModel:
    """A version whose example row has so many rooms, and that takes so many at most."""
    bundle: Bundle = write_small_bundle(path)
    columns = tuple(replace(c, maximum=most_rooms) if c.name == "rooms" else c for c in COLUMNS)
    reference = bundle.read_reference()
    reference["sample"]["rooms"] = [rooms]
    write_bundle(path, bundle.read("model.onnx"), replace(bundle.manifest, columns=columns), reference)
    return LiveModel(load_bundle(path), version, 100)


def test_each_trial_has_its_own_times_of_both(tmp_path: Path) -> None:
    champion, other = open_model(tmp_path / "a", "v1"), open_model(tmp_path / "b", "v2")
    watch = Stopwatch()
    for _ in range(3):
        watch.measure(champion, {("v2", 10): other})
    watch.measure(champion, {("v2", 10): other, ("v3", 20): other})
    assert [m.n for m in watch.read(("v2", 10))] == [4, 4] and [m.n for m in watch.read(("v3", 20))] == [1, 1]
    assert all(m.mean > 0 for m in watch.read(("v3", 20)))
    watch.measure(champion, {("v2", 30): other})  # offered again
    assert [m.n for m in watch.read(("v2", 30))] == [1, 1] and watch.read(("v2", 10)) == (NONE, NONE)


def test_the_row_is_one_that_both_take(tmp_path: Path) -> None:
    champion = open_model(tmp_path / "a", "v1", rooms=10)
    narrow = open_model(tmp_path / "b", "v2", most_rooms=5.0, rooms=3)
    alien = open_model(tmp_path / "c", "v3", most_rooms=5.0, rooms=10)  # it takes not even its own
    watch = Stopwatch()
    watch.measure(champion, {("v2", 1): narrow, ("v3", 1): alien})
    assert [m.n for m in watch.read(("v2", 1))] == [1, 1]
    assert watch.read(("v3", 1)) == (NONE, NONE)
