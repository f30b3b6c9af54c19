"""The journal never yields what was not written, whatever happens to its bytes, and is replayed once."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.predlog.samples import make_rents, stored_ids
from tideline.predlog import Store, StoreUnavailable
from tideline.predlog.insert import Appender
from tideline.predlog.journal import Journal, Scan, scan
from tideline.predlog.records import pack_rows, to_rows
from tideline.predlog.replay import Replay

payloads_of_any_kind = st.lists(st.text(max_size=40).map(str.encode), min_size=1, max_size=8)


def write_segment(folder: Path, payloads: list[bytes]) -> bytes:
    journal = Journal(folder)
    with patch("os.fdatasync"):  # a hundred times is slow
        for payload in payloads:
            journal.append(payload)
    journal.close()
    (path,) = journal.list_segments()
    content = path.read_bytes()
    path.unlink()
    return content


@settings(max_examples=40, deadline=None)
@given(payloads=payloads_of_any_kind, data=st.data())
def test_cut_anywhere_keeps_every_whole_record(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], data: st.DataObject
) -> None:
    content = write_segment(tmp_path_factory.mktemp("cut"), payloads)
    cut = data.draw(st.integers(0, len(content)))
    found = scan(content[:cut])
    ends = [sum(12 + len(p) for p in payloads[: i + 1]) for i in range(len(payloads))]
    whole = sum(end <= cut for end in ends)
    assert found.payloads == payloads[:whole] and found.unread == cut - (ends[whole - 1] if whole else 0)


@settings(max_examples=150, deadline=None)
@given(payloads=payloads_of_any_kind, data=st.data())
def test_flipped_bits_lose_the_records_they_hit_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], data: st.DataObject
) -> None:
    content = bytearray(write_segment(tmp_path_factory.mktemp("flip"), payloads))
    flips = data.draw(st.lists(st.integers(0, 8 * len(content) - 1), min_size=1, max_size=3, unique=True))
    for bit in flips:
        content[bit // 8] ^= 1 << bit % 8
    starts = [sum(12 + len(p) for p in payloads[:i]) for i in range(len(payloads))]
    hit = {i for i, s in enumerate(starts) for bit in flips if s <= bit // 8 < s + 12 + len(payloads[i])}
    assert scan(bytes(content)).payloads == [p for i, p in enumerate(payloads) if i not in hit]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.binary(max_size=30) | st.just(b"\xf5TL\xf6") | st.just(b"\xf5TL\xf6\0\0\0\0"), max_size=8).map(b"".join)
)
def test_any_bytes_can_be_read(content: bytes) -> None:
    found = scan(content)
    assert found.unread + sum(12 + len(p) for p in found.payloads) == len(content)


def replay(journal: Journal, store: Store) -> int:
    task = Replay(journal)
    with Appender(store.database) as appender:
        while task.step(appender):
            pass
    return task.rows


def test_replay_is_idempotent_and_removes_what_it_wrote(store: Store, tmp_path: Path) -> None:
    records = make_rents(2_500)
    journal = Journal(tmp_path / "journal", segment=200_000)
    for start in range(0, 2_500, 100):
        journal.append(pack_rows(to_rows(records[start : start + 100])))
    kept = {path: path.read_bytes() for path in journal.list_segments()}
    assert len(kept) > 3
    store.append(records[:150])  # acknowledged by neither, because the connection broke after the commit
    assert replay(journal, store) == 2_500 and not journal.list_segments()
    assert stored_ids(store) == [r.prediction_id for r in records]
    for path, content in kept.items():  # killed before the files were removed
        path.write_bytes(content)
    assert store.replay(tmp_path / "journal") == 2_500
    assert stored_ids(store) == [r.prediction_id for r in records]


def test_damaged_file_is_kept_aside_and_the_rest_is_stored(store: Store, tmp_path: Path) -> None:
    records = make_rents(30)
    journal = Journal(tmp_path / "journal")
    for start in range(0, 30, 10):
        journal.append(pack_rows(to_rows(records[start : start + 10])))
    journal.append(b'["no rows"]')
    journal.close()
    (path,) = journal.list_segments()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert replay(journal, store) == 20
    assert stored_ids(store) == [r.prediction_id for r in records[:10] + records[20:]]
    assert journal.list_segments() == [] and journal.list_unread() == [path.with_suffix(".unread")]


def test_row_that_no_store_takes_does_not_hold_up_the_others(store: Store, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    good, bad = make_rents(20), make_rents(1, role="boss")
    journal.append(pack_rows(to_rows(good[:10] + bad + good[10:])))
    assert replay(journal, store) == 20
    assert len(journal.list_unread()) == 1 and len(stored_ids(store)) == 20


def test_segment_in_use_is_left_to_its_process(sqlite_store: Store, tmp_path: Path) -> None:
    mine, other = Journal(tmp_path / "journal"), Journal(tmp_path / "journal")
    mine.append(pack_rows(to_rows(make_rents(5))))
    assert replay(other, sqlite_store) == 0 and len(other.list_segments()) == 1
    mine.close()
    assert replay(other, sqlite_store) == 5


def test_limit_and_failing_disk_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "journal", limit=1_000, segment=500)
    with pytest.raises(StoreUnavailable, match=r"journal .*/journal holds [\d,]+ bytes, its limit is 1,000; bring"):
        for _ in range(20):
            journal.append(b"x" * 100)
    assert sum(path.stat().st_size for path in journal.list_segments()) <= 1_000
    journal = Journal(tmp_path / "other")
    journal.append(b"first")
    write = os.write

    def write_half(handle: int, content: bytes) -> int:
        if len(content) < 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, content[: len(content) // 2])

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(StoreUnavailable, match="cannot be written: No space left on device; free space"):
        journal.append(b"second" * 10)
    monkeypatch.undo()
    journal.append(b"third")
    journal.close()
    assert [scan(path.read_bytes()) for path in journal.list_segments()] == [
        Scan([b"first"], 0),
        Scan([b"third"], 0),
    ]
