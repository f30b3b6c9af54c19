"""The registry: the gate, the pointer that never dangles, and the ledger that forgets and forgives nothing."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.small_task import PETS, RENT, ROOT, ship, small_params, write, write_project
from tideline.bundle import load_bundle, write_bundle
from tideline.contracts import TidelineError
from tideline.gate import bootstrap_gain
from tideline.layout import Layout
from tideline.ledger import START, append_entry, hold_lock, read_ledger
from tideline.registry import Verdict, champion_bundle, history, promote, rollback, status
from tideline.registry_view import describe_history, describe_status, describe_verdict

PARAMS = small_params()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with three bundles: poor, good and better."""
    root = tmp_path_factory.mktemp("template")
    layout = write_project(root, RENT)
    for name, slope in (("poor", 2.0), ("good", 2.7), ("better", 3.0)):
        ship(layout, RENT, slope)
        shutil.copytree(layout.bundle, root / name)
    return root


@pytest.fixture
def layout(template: Path, tmp_path: Path) -> Layout:
    root = tmp_path / "project"
    shutil.copytree(template, root)
    return Layout("rent", root)


def offer(layout: Layout, name: str) -> None:
    """Put one of the template's bundles where the graph puts the built one."""
    shutil.rmtree(layout.bundle)
    shutil.copytree(layout.root / name, layout.bundle)


def submit(layout: Layout, name: str) -> Verdict:
    offer(layout, name)
    return promote(RENT, PARAMS, layout)


def rewrite(layout: Layout, **changes: object) -> None:
    """Change the offered bundle's manifest, properly sealed."""
    bundle = load_bundle(layout.bundle)
    manifest = replace(bundle.manifest, **changes)  # type: ignore[arg-type]
    write_bundle(layout.bundle, bundle.read("model.onnx"), manifest, bundle.read_reference())


def actions(layout: Layout) -> list[str]:
    return [entry.action for entry in history(RENT, layout).entries]


def test_first_version_must_beat_naive_only(layout: Layout) -> None:
    verdict = submit(layout, "poor")
    assert verdict.accepted and verdict.version == f"v0001-{load_bundle(layout.bundle).digest[:8]}"
    assert champion_bundle(layout).name == verdict.version
    (entry,) = history(RENT, layout).entries
    assert entry.evidence["gain_over_naive"]["low"] > 0
    assert entry.evidence["holdout"] == {"hash": "5" * 64, "rows": 800}
    assert entry.evidence["parity"]["passed"] is True and entry.evidence["latency_us"]["row"] == 20.0


def test_better_replaces_and_worse_or_equal_does_not(layout: Layout) -> None:
    submit(layout, "good")
    worse = submit(layout, "poor")
    assert not worse.accepted
    assert "not better than the champion beyond noise: rmse" in worse.reasons[0]
    assert champion_bundle(layout).name.startswith("v0001")
    better = submit(layout, "better")
    assert better.accepted and better.version.startswith("v0002")
    rewrite(layout, created="later")  # the same model under another digest is not better
    equal = promote(RENT, PARAMS, layout)
    assert not equal.accepted and "not better than the champion" in equal.reasons[0]
    assert actions(layout) == ["promoted", "refused", "promoted", "refused"]


def test_same_bundle_is_champion_already(layout: Layout) -> None:
    submit(layout, "good")
    again = submit(layout, "good")
    assert again.accepted and again.action == "already champion"
    assert len(history(RENT, layout).entries) == 1 and len(status(RENT, layout).versions) == 1


def test_naive_itself_is_refused(layout: Layout) -> None:
    shutil.rmtree(layout.candidate)
    ship(layout, RENT, slope=0.0, bonus=0.0)
    verdict = promote(RENT, PARAMS, layout)
    assert not verdict.accepted and "not better than the naive beyond noise" in verdict.reasons[0]
    with pytest.raises(TidelineError, match="no champion"):
        champion_bundle(layout)


def test_simulated_never_replaces_real_but_real_replaces_simulated(layout: Layout) -> None:
    submit(layout, "good")
    offer(layout, "better")
    provenance = {"source": "simulator", "simulated": True, "rows": 1, "sha256": "0" * 64}
    rewrite(layout, provenance=provenance)
    verdict = promote(RENT, PARAMS, layout)
    assert verdict.reasons == (
        "it was trained on simulated data, the champion on real data; bring the real data and train again",
    )
    shutil.rmtree(layout.registry)
    offer(layout, "good")
    rewrite(layout, provenance=provenance)
    assert promote(RENT, PARAMS, layout).accepted
    assert submit(layout, "better").accepted


def test_every_gate_is_named_with_its_figures(layout: Layout) -> None:
    offer(layout, "good")
    manifest = load_bundle(layout.bundle).manifest
    rewrite(
        layout,
        parity={"passed": False, "max_rel": 0.25},
        metrics={**manifest.metrics, "latency_us": {"row": 5000.0}, "test": {"rmse": 1.0}},
    )
    text = " | ".join(promote(RENT, PARAMS, layout).reasons)
    assert "parity" in text and "0.25" in text
    assert "5,000 µs, the gate allows 1,000" in text
    assert "claims rmse 1 on the holdout, measured here:" in text
    rewrite(layout, metrics={})
    text = " | ".join(promote(RENT, PARAMS, layout).reasons)
    assert "latency was not measured" in text and "no test rmse" in text


def test_challenger_of_another_split_is_refused_unscored(layout: Layout) -> None:
    offer(layout, "good")
    rewrite(layout, hashes={**load_bundle(layout.bundle).manifest.hashes, "split": "6" * 64})
    verdict = promote(RENT, PARAMS, layout)
    assert "666666666666" in verdict.reasons[0] and "may have seen these rows" in verdict.reasons[0]
    assert "challenger" not in verdict.evidence


def test_champion_of_another_split_is_scored_here_and_it_is_said(layout: Layout) -> None:
    submit(layout, "good")
    fresh = "7" * 64
    write(layout.split / "split.json", {"hash": fresh})
    offer(layout, "better")
    rewrite(layout, hashes={**load_bundle(layout.bundle).manifest.hashes, "split": fresh})
    verdict = promote(RENT, PARAMS, layout)
    assert verdict.accepted and "another split" in verdict.evidence["holdout"]["champion"]


def test_slice_that_gets_worse_is_refused_though_the_whole_gets_better(layout: Layout) -> None:
    ship(layout, RENT, slope=2.4, bonus=60.0)
    assert promote(RENT, PARAMS, layout).accepted
    shutil.rmtree(layout.candidate)
    ship(layout, RENT, slope=3.0, bonus=10.0)  # right on kind a, and 30 too low on kind b
    verdict = promote(RENT, PARAMS, layout)
    lines = {(row["slice"], row["label"]): row for row in verdict.evidence["slices"]}
    assert verdict.evidence["gain_over_champion"]["low"] > 0
    assert lines["kind", "b"]["change"] > 0.1 > lines["kind", "a"]["change"]
    assert all(reason.startswith("slice ") for reason in verdict.reasons)
    assert any(reason.startswith("slice kind = b") for reason in verdict.reasons)
    lenient = replace(PARAMS, gate=replace(PARAMS.gate, slice_margin=9.0))
    assert promote(RENT, lenient, layout).accepted


def test_classification_is_judged_by_log_loss(tmp_path: Path) -> None:
    layout = write_project(tmp_path, PETS)
    ship(layout, PETS, slope=2.6)
    assert promote(PETS, PARAMS, layout).accepted
    shutil.rmtree(layout.candidate)
    ship(layout, PETS, slope=3.0, bonus=0.0)
    verdict = promote(PETS, PARAMS, layout)
    assert verdict.accepted and verdict.evidence["metric"] == "log_loss"
    assert verdict.evidence["challenger"] < verdict.evidence["champion"] < 2


def test_corrupt_challenger_and_corrupt_champion_are_refused_by_name(layout: Layout) -> None:
    first = submit(layout, "good")
    offer(layout, "better")
    (layout.bundle / "model.onnx").write_bytes(b"x")
    with pytest.raises(TidelineError, match=r"model\.onnx has sha256"):
        promote(RENT, PARAMS, layout)
    offer(layout, "better")
    (champion_bundle(layout) / "reference.json").write_bytes(b"x")
    with pytest.raises(TidelineError, match=rf"{first.version} is broken: reference\.json"):
        promote(RENT, PARAMS, layout)
    assert any("reference.json" in text for text in status(RENT, layout).warnings)
    assert submit(layout, "good").action == "already champion"  # the same bundle mends its broken copy
    assert load_bundle(champion_bundle(layout)).digest == first.digest
    assert actions(layout) == ["promoted", "restored"]


def test_bundle_of_another_task_is_refused(layout: Layout) -> None:
    with pytest.raises(TidelineError, match="bundle of 'rent', not of 'pets'"):
        promote(PETS, PARAMS, layout)


def test_rollback_walks_back_and_withdraws(layout: Layout) -> None:
    names = [submit(layout, name).version for name in ("poor", "good", "better")]
    assert rollback(RENT, layout, reason="answers were odd").version == names[1]
    assert rollback(RENT, layout).version == names[0]
    with pytest.raises(TidelineError, match="no champion before"):
        rollback(RENT, layout)
    verdict = submit(layout, "better")
    assert not verdict.accepted and "rolled back" in verdict.reasons[0] and "answers were odd" in verdict.reasons[0]
    assert rollback(RENT, layout, to="v0003").version == names[2]
    assert rollback(RENT, layout, to=names[2]).action == "already champion"
    assert status(RENT, layout).previous == names[0]
    with pytest.raises(TidelineError, match="no version 'v9'; there are: v0001-"):
        rollback(RENT, layout, to="v9")


def test_rollback_to_a_broken_version_is_refused(layout: Layout) -> None:
    first = submit(layout, "poor").version
    second = submit(layout, "good").version
    (layout.registry / "versions" / first / "model.onnx").unlink()
    with pytest.raises(TidelineError, match=r"model\.onnx is missing|model\.onnx cannot be read"):
        rollback(RENT, layout)
    assert champion_bundle(layout).name == second


KILLER = """
import os, sys
from pathlib import Path
from tests.small_task import RENT, small_params
from tideline import bundle, champion, ledger, registry
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
elif step == "in the pointer":
    Path.replace = die
elif step == "after the pointer":
    champion.sync_folder = die
registry.promote(RENT, params, layout)
"""


@pytest.mark.parametrize(
    ("step", "champion", "recorded"),
    [
        ("while copying", "v0001", ["promoted", "promoted"]),
        ("before the entry", "v0001", ["promoted", "promoted"]),
        ("in the entry", "v0001", ["promoted", "recovered", "promoted"]),
        ("before the pointer", "v0001", ["promoted", "promoted", "abandoned", "promoted"]),
        ("in the pointer", "v0001", ["promoted", "promoted", "abandoned", "promoted"]),
        ("after the pointer", "v0002", ["promoted", "promoted"]),
    ],
)
def test_killed_promotion_leaves_a_whole_champion_and_can_be_repeated(
    layout: Layout, step: str, champion: str, recorded: list[str]
) -> None:
    submit(layout, "good")
    offer(layout, "better")
    command = [sys.executable, "-c", KILLER, str(layout.root), step]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert champion_bundle(layout).name.startswith(champion)
    load_bundle(champion_bundle(layout))
    warnings = status(RENT, layout).warnings
    assert any("never took effect" in text for text in warnings) is ("abandoned" in recorded)
    assert any("cut off" in text for text in warnings) is ("recovered" in recorded)

    verdict = promote(RENT, PARAMS, layout)
    assert verdict.accepted and champion_bundle(layout).name == verdict.version
    assert actions(layout) == recorded
    state = status(RENT, layout)
    assert state.warnings == () and len(state.versions) == 2
    assert not list((layout.registry / "versions").glob(".*"))
    assert rollback(RENT, layout).version.startswith("v0001")


def test_two_promotions_at_once_wait_for_each_other(layout: Layout) -> None:
    offer(layout, "good")
    runs = [
        subprocess.Popen([sys.executable, "-c", KILLER, str(layout.root), "alive"], cwd=ROOT, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    errors = [run.communicate()[1].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], errors
    assert actions(layout) == ["promoted"] and len(status(RENT, layout).versions) == 1


def test_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    code = f"""
import time
from pathlib import Path
from tideline.ledger import hold_lock
with hold_lock(Path({str(lock)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(TidelineError, match=f"held by process {holder.pid}"), hold_lock(lock, patience=0.2):
        pass
    holder.kill()
    holder.communicate()
    with hold_lock(lock, patience=0.2):
        pass


def test_readers_see_one_champion_or_the_other_during_swaps(layout: Layout) -> None:
    submit(layout, "good")
    submit(layout, "better")
    seen, wrong, stop = set(), [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                seen.add(champion_bundle(layout).name)
            except TidelineError as error:
                wrong.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(5):
        rollback(RENT, layout, to="v0001")
        rollback(RENT, layout, to="v0002")
    stop.set()
    reader.join()
    assert not wrong and {name[:5] for name in seen} <= {"v0001", "v0002"}


def test_lost_pointer_or_lost_ledger_is_named_and_mended_by_name(layout: Layout) -> None:
    submit(layout, "good")
    submit(layout, "better")
    pointer = layout.registry / "champion.json"
    for damage in ("{", None):
        pointer.write_text(damage) if damage else pointer.unlink()
        with pytest.raises(TidelineError, match="rollback rent --to VERSION"):
            promote(RENT, PARAMS, layout)
        assert rollback(RENT, layout, to="v0002").action == "rolled back"
        assert champion_bundle(layout).name.startswith("v0002")
    (layout.registry / "ledger.jsonl").unlink()
    with pytest.raises(TidelineError, match="one of them was lost"):
        promote(RENT, PARAMS, layout)
    assert rollback(RENT, layout, to="v0002").accepted
    assert submit(layout, "better").action == "already champion"
    shutil.rmtree(layout.registry / "versions")
    with pytest.raises(TidelineError, match="is gone"):
        champion_bundle(layout)


def test_views_say_what_a_person_needs(layout: Layout) -> None:
    assert describe_status(RENT, layout) == "rent: no champion"
    assert "nothing was ever promoted" in describe_history(RENT, layout)
    text = describe_verdict(submit(layout, "good"))
    assert text.startswith("promoted: v0001-") and "naive" in text
    assert describe_verdict(submit(layout, "poor")).startswith("refused: bundle ")
    submit(layout, "better")
    described = describe_status(RENT, layout)
    assert "champion v0002-" in described and "goes back to v0001-" in described and "* v0002-" in described
    told = describe_history(RENT, layout)
    assert told.count("promoted") == 2 and "- it is not better" in told
    assert "already champion" in describe_verdict(submit(layout, "better"))
    assert "from v0002-" in describe_verdict(rollback(RENT, layout))


def test_paired_bootstrap_knows_noise_from_gain() -> None:
    random = np.random.default_rng(5)
    base = random.exponential(1.0, 2000)
    same = bootstrap_gain(base, random.permutation(base), "log_loss", 0.95, 0, draws=500)
    assert same.mean == pytest.approx(0) and same.low < 0 < same.high
    gain = bootstrap_gain(base, base * 0.99, "log_loss", 0.95, 0, draws=500)
    assert 0 < gain.low < gain.mean < gain.high  # paired: a small gain on every row is beyond noise
    assert gain == bootstrap_gain(base, base * 0.99, "log_loss", 0.95, 0, draws=500)


def write_ledger(path: Path, count: int) -> bytes:
    for i in range(count):
        append_entry(
            path, "promoted", f"v{i:04d}", "d" * 64, ["ä reason\n"], {"figure": 0.1 * i, "nested": {"b": 1, "a": None}}
        )
    return path.read_bytes()


def test_ledger_is_chained_and_altered_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    content = write_ledger(path, 4)
    entries = read_ledger(path).entries
    assert [e.seq for e in entries] == [1, 2, 3, 4] and entries[0].previous == START
    assert all(b.previous == a.hash for a, b in pairwise(entries))
    lines = content.splitlines(keepends=True)
    for broken, line in (
        ([lines[0], lines[2], lines[3]], 2),  # one taken out
        ([lines[0], lines[2], lines[1], lines[3]], 2),  # swapped
        ([*lines, lines[3]], 5),  # repeated
        ([lines[0], lines[1].replace(b"v0001", b"v0009"), *lines[2:]], 2),  # edited
        ([lines[0], b"\n", *lines[1:]], 2),
    ):
        path.write_bytes(b"".join(broken))
        with pytest.raises(TidelineError, match=rf"ledger\.jsonl, line {line} was altered"):
            read_ledger(path)


@pytest.fixture(scope="module")
def ledger_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_ledger(tmp_path_factory.mktemp("ledger") / "ledger.jsonl", 3)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_cut_at_any_byte_keeps_every_whole_entry_and_goes_on(
    ledger_bytes: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(ledger_bytes)))
    path = tmp_path_factory.mktemp("cut") / "ledger.jsonl"
    path.write_bytes(ledger_bytes[:cut])
    ledger = read_ledger(path)
    whole = ledger_bytes[:cut].count(b"\n")
    assert len(ledger.entries) == whole and bool(ledger.damage) is bool(ledger.tail)
    append_entry(path, "refused", "", "e" * 64)
    after = read_ledger(path)
    expected = ["recovered", "refused"] if ledger.tail else ["refused"]
    assert [e.action for e in after.entries[whole:]] == expected and not after.tail
    if ledger.tail:
        kept = path.with_name(after.entries[whole].evidence["kept_in"])
        assert kept.read_bytes() == ledger.tail


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0), byte=st.integers(0, 255), content=st.none() | st.binary(max_size=200))
def test_any_changed_byte_is_found_and_any_file_is_read_or_refused(
    ledger_bytes: bytes, tmp_path_factory: pytest.TempPathFactory, place: int, byte: int, content: bytes | None
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "ledger.jsonl"
    changed = bytearray(ledger_bytes)
    changed[place % len(changed)] = byte
    path.write_bytes(bytes(changed) if content is None else content)
    try:
        ledger = read_ledger(path)
    except TidelineError as error:
        assert "ledger.jsonl, line" in str(error)
        return
    if content is None:
        assert bytes(changed) == ledger_bytes or ledger.damage
    else:
        assert ledger.entries == () and ledger.tail == content


def test_history_is_plain_json_a_line(layout: Layout) -> None:
    submit(layout, "good")
    (line,) = (layout.registry / "ledger.jsonl").read_text().splitlines()
    raw = json.loads(line)
    assert raw["action"] == "promoted" and raw["evidence"]["test"]["resamples"] == 2000
