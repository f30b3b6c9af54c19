"""What is kept of a version, what is said where it cannot be, and the story that is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.small_registry import offer, submit
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.lineage.graph_lock import hash_path, read_lock, replace_stages, write_lock
from tideline.lineage.kept import lineage_folder, read_lineage
from tideline.lineage.replaced import replace_file
from tideline.lineage.story import tell_story
from tideline.lineage.story_text import describe_story
from tideline.registry import history, rollback


def write_graph(layout: Layout, bundle: str | None = None) -> None:
    """A dvc.lock of this task and another, as the graph leaves it."""
    raw = layout.raw.relative_to(layout.root).as_posix()
    made = {"path": "models/rent/bundle", "hash": "md5", "md5": bundle or hash_path(layout.bundle), "size": 1}
    fetched = {"path": raw, "hash": "md5", "md5": hash_path(layout.raw), "size": 10, "nfiles": 1}
    stages = {
        "fetch@rent": {"cmd": "fetch", "params": {"params.yaml": {"seed": 42}}, "outs": [fetched]},
        "bundle@rent": {"cmd": "bundle", "deps": [fetched], "outs": [made]},
        "bundle@rental": {"cmd": "bundle", "outs": [{"path": "models/rental/bundle", "md5": "0" * 32}]},
    }
    (layout.root / "dvc.lock").write_bytes(write_lock(stages))


def test_parameters_and_the_tasks_part_of_the_lock_are_kept_and_the_ledger_holds_their_hash(layout: Layout) -> None:
    offer(layout, "good")
    write_graph(layout)
    params = (layout.root / "params.yaml").read_bytes()
    version = submit(layout, "good").version
    (entry,) = history(layout).entries
    assert entry.evidence["lineage"]["graph"] is True
    (layout.root / "params.yaml").write_text("seed: 1\n")
    kept = read_lineage(layout, version, history(layout).entries)
    assert kept is not None and kept.params == params
    assert kept.stages is not None and set(kept.stages) == {"fetch@rent", "bundle@rent"}
    assert kept.sha256 == entry.evidence["lineage"]["sha256"] and not kept.notes


def test_a_bundle_that_was_built_without_dvc_says_so(layout: Layout) -> None:
    version = submit(layout, "good").version
    kept = read_lineage(layout, version, history(layout).entries)
    assert kept is not None and kept.stages is None and "built without DVC" in kept.notes[0]
    assert "built without DVC" in describe_story(tell_story(layout, "v0001"))


def test_a_lock_of_another_bundle_and_changed_parameters_are_told(layout: Layout) -> None:
    write_graph(layout, bundle="1" * 32 + ".dir")
    text = (layout.root / "params.yaml").read_text()
    (layout.root / "params.yaml").write_text(text.replace("seed: 42", "seed: 43"))
    version = submit(layout, "good").version
    kept = read_lineage(layout, version, history(layout).entries)
    assert kept is not None and kept.stages is None
    assert "changed after the bundle was drafted" in kept.notes[0] and "not the graph's" in kept.notes[1]


@pytest.mark.parametrize("name", ["params.yaml", "lineage.json"])
def test_what_was_kept_cannot_be_changed_unseen(layout: Layout, name: str) -> None:
    version = submit(layout, "good").version
    path = lineage_folder(layout, version) / name
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(TidelineError, match=rf"{name} was changed"):
        read_lineage(layout, version, history(layout).entries)
    assert any("was changed" in note for note in tell_story(layout, version)["notes"])  # the rest is told
    assert submit(layout, "good").action == "already champion"


def test_story_tells_changes_gate_and_why_it_ended(layout: Layout) -> None:
    submit(layout, "poor")
    text = (layout.root / "params.yaml").read_text()
    (layout.root / "params.yaml").write_text(text.replace("seed: 42", "seed: 7"))
    second = submit(layout, "better").version
    rollback(layout, reason="answers were odd")
    story = tell_story(layout, "v0002")
    assert story["changes"]["params"] == {"seed": [42, 7]} and story["before"].startswith("v0001")
    (gate,) = story["gate"]
    assert gate["challenger"] < gate["champion"] and gate["gain_over_champion"]["low"] > 0
    (period,) = story["periods"]
    assert period["role"] == "champion" and "answers were odd" in period["why"]
    said = describe_story(story)
    for words in (
        second,
        "seed: 42 -> 7",
        "passed, and was promoted",
        "answers were odd",
        "800 test rows",
        "it is better",
    ):
        assert words in said


def test_no_such_version_is_answered_with_near_names(layout: Layout) -> None:
    with pytest.raises(TidelineError, match="has no versions yet"):
        tell_story(layout, "v1")
    version = submit(layout, "good").version
    with pytest.raises(TidelineError, match=rf"no version 'v001'; did you mean {version}\?"):
        tell_story(layout, "v001")


def test_only_the_tasks_stages_are_replaced(layout: Layout) -> None:
    write_graph(layout)
    lock = read_lock(layout.root / "dvc.lock")
    assert lock is not None
    stages = replace_stages(lock, "rent", {"bundle@rent": {"cmd": "older"}})
    assert stages == {"bundle@rental": lock["stages"]["bundle@rental"], "bundle@rent": {"cmd": "older"}}
    assert yaml.safe_load(write_lock(stages))["stages"] == stages


def test_a_replaced_file_keeps_every_content_that_it_ever_held(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("mine")
    assert replace_file(path, b"old", "v1") == "params.before-v1.yaml"
    assert replace_file(path, b"old", "v1") == ""  # done again, nothing more is kept
    path.write_text("mine again")
    assert replace_file(path, b"old", "v1") == "params.before-v1-2.yaml"
    path.write_text("mine")
    assert replace_file(path, b"old", "v1") == "params.before-v1.yaml"  # that content is there already
    held = {p.name: p.read_text() for p in tmp_path.iterdir()}
    assert held == {"params.yaml": "old", "params.before-v1.yaml": "mine", "params.before-v1-2.yaml": "mine again"}
