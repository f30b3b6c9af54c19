"""The registry: versions that stay, a pointer that never dangles, and the way back."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from tests.killed_promotion import KILLER
from tests.small_registry import PARAMS, actions, offer, submit
from tests.small_task import PETS, RENT, ROOT
from tideline.bundle import load_bundle
from tideline.champion import champion_bundle
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.registry import history, promote, rollback, status
from tideline.registry_view import describe_history, describe_status, describe_verdict


def test_same_bundle_is_champion_already(layout: Layout) -> None:
    submit(layout, "good")
    again = submit(layout, "good")
    assert again.accepted and again.action == "already champion"
    assert len(history(layout).entries) == 1 and len(status(layout).versions) == 1


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
    assert any("reference.json" in text for text in status(layout).warnings)
    assert submit(layout, "good").action == "already champion"  # the same bundle mends its broken copy
    assert load_bundle(champion_bundle(layout)).digest == first.digest
    assert actions(layout) == ["promoted", "restored"]


def test_bundle_of_another_task_is_refused(layout: Layout) -> None:
    with pytest.raises(TidelineError, match="bundle of 'rent', not of 'pets'"):
        promote(PETS, PARAMS, layout)


def test_rollback_walks_back_and_withdraws(layout: Layout) -> None:
    names = [submit(layout, name).version for name in ("poor", "good", "better")]
    assert rollback(layout, reason="answers were odd").version == names[1]
    assert rollback(layout).version == names[0]
    with pytest.raises(TidelineError, match="no champion before"):
        rollback(layout)
    verdict = submit(layout, "better")
    assert not verdict.accepted and "rolled back" in verdict.reasons[0] and "answers were odd" in verdict.reasons[0]
    assert rollback(layout, to="v0003").version == names[2]
    assert rollback(layout, to=names[2]).action == "already champion"
    assert status(layout).previous == names[0]
    with pytest.raises(TidelineError, match="no version 'v9'; there are: v0001-"):
        rollback(layout, to="v9")


def test_rollback_to_a_broken_version_is_refused(layout: Layout) -> None:
    first = submit(layout, "poor").version
    second = submit(layout, "good").version
    (layout.registry / "versions" / first / "model.onnx").unlink()
    with pytest.raises(TidelineError, match=r"model\.onnx is missing|model\.onnx cannot be read"):
        rollback(layout)
    assert champion_bundle(layout).name == second


@pytest.mark.parametrize(
    ("step", "champion", "recorded"),
    [
        ("while copying", "v0001", ["promoted", "promoted"]),
        ("in the parity sample", "v0001", ["promoted", "promoted"]),
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
    warnings = status(layout).warnings
    assert any("never took effect" in text for text in warnings) is ("abandoned" in recorded)
    assert any("cut off" in text for text in warnings) is ("recovered" in recorded)

    verdict = promote(RENT, PARAMS, layout)
    assert verdict.accepted and champion_bundle(layout).name == verdict.version
    assert actions(layout) == recorded
    state = status(layout)
    assert state.warnings == () and len(state.versions) == 2
    assert not list((layout.registry / "versions").glob(".*"))
    assert rollback(layout).version.startswith("v0001")


def test_two_promotions_at_once_wait_for_each_other(layout: Layout) -> None:
    offer(layout, "good")
    runs = [
        subprocess.Popen([sys.executable, "-c", KILLER, str(layout.root), "alive"], cwd=ROOT, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    errors = [run.communicate()[1].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], errors
    assert actions(layout) == ["promoted"] and len(status(layout).versions) == 1


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
        rollback(layout, to="v0001")
        rollback(layout, to="v0002")
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
        assert rollback(layout, to="v0002").action == "rolled back"
        assert champion_bundle(layout).name.startswith("v0002")
    (layout.registry / "ledger.jsonl").unlink()
    with pytest.raises(TidelineError, match="one of them was lost"):
        promote(RENT, PARAMS, layout)
    assert rollback(layout, to="v0002").accepted
    assert submit(layout, "better").action == "already champion"
    shutil.rmtree(layout.registry / "versions")
    with pytest.raises(TidelineError, match="is gone"):
        champion_bundle(layout)


def test_views_say_what_a_person_needs(layout: Layout) -> None:
    assert describe_status(layout) == "rent: no champion"
    assert "nothing was ever promoted" in describe_history(layout)
    text = describe_verdict(submit(layout, "good"))
    assert text.startswith("promoted: v0001-") and "naive" in text
    assert describe_verdict(submit(layout, "poor")).startswith("refused: bundle ")
    submit(layout, "better")
    described = describe_status(layout)
    assert "champion v0002-" in described and "goes back to v0001-" in described and "* v0002-" in described
    told = describe_history(layout)
    assert told.count("promoted") == 2 and "- it is not better" in told
    assert "already champion" in describe_verdict(submit(layout, "better"))
    assert "from v0002-" in describe_verdict(rollback(layout))


def test_history_is_plain_json_a_line(layout: Layout) -> None:
    submit(layout, "good")
    (line,) = (layout.registry / "ledger.jsonl").read_text().splitlines()
    raw = json.loads(line)
    assert raw["action"] == "promoted" and raw["evidence"]["test"]["resamples"] == 2000
