"""The ledger forgets nothing: cut-off lines are set aside, altered ones are named."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tideline.contracts import TidelineError
from tideline.file_lock import hold_lock
from tideline.ledger import START, append_entry, read_ledger


def test_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    code = f"""
import time
from pathlib import Path
from tideline.file_lock import hold_lock
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
