"""From the prediction log to rows in the shape of raw data."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.retraining.homes import FLATS, HOMES, make_homes
from tests.retraining.replay import SECOND, START, log_rows
from tests.small_task import PETS, RENT, make_frame
from tideline.catalog import get_task
from tideline.data_frame import column_names, conform, hash_frame
from tideline.labelled import ID, TIME
from tideline.predlog import SKEW, Label, Store, open_store
from tideline.retraining.collect import collect_rows, merge_rows

LATER = START + 10_000 * SECOND


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path}/log.db") as opened:
        yield opened


def test_rows_come_back_exactly_as_in_the_raw_data(store: Store, data_dir: Path) -> None:
    for task in (get_task("bikes"), get_task("housing")):
        assert task.source.read is not None
        raw = conform(task, task.source.read(data_dir / task.source.filename)).iloc[::29].reset_index(drop=True)
        log_rows(store, task, raw, "v0001-a")
        found = collect_rows(task, store, None, LATER)
        again = found.rows[column_names(task)]
        pd.testing.assert_frame_equal(again, raw, check_exact=True)
        assert found.counts["new"] == len(raw) == len(found.window)


def test_classes_come_back_as_text(store: Store) -> None:
    frame = make_frame(80, seed=3)
    log_rows(store, PETS, frame, "v1")
    found = collect_rows(PETS, store, None, LATER).rows
    pd.testing.assert_frame_equal(found[column_names(PETS)], conform(PETS, frame[column_names(PETS)]))


def test_only_labelled_rows_of_champion_and_canary_count(store: Store) -> None:
    frame = make_frame(90, seed=4)
    log_rows(store, RENT, frame[:30], "v1")
    log_rows(store, RENT, frame[30:50], "v2", role="canary")
    log_rows(store, RENT, frame[50:70], "v3", role="shadow")
    log_rows(store, RENT, frame[70:], "v1", labels=False)
    found = collect_rows(RENT, store, None, LATER)
    assert len(found.rows) == 50
    assert (found.counts["read"], found.counts["unlabelled"]) == (70, 20)


def test_clocks_that_disagree_are_counted_and_lose_nothing(store: Store) -> None:
    frame = make_frame(40, seed=5)
    ids = log_rows(store, RENT, frame, "v1", labels=False)
    price = frame["price"].tolist()
    early = [Label(i, v) for i, v in zip(ids[:10], price[:10], strict=True)]
    store.record_labels(early, now=START - 60 * SECOND)  # before they were made
    late = [Label(i, v) for i, v in zip(ids[10:30], price[10:30], strict=True)]
    store.record_labels(late, now=LATER + 2 * SKEW)  # not yet
    found = collect_rows(RENT, store, None, LATER)
    assert len(found.rows) == 10
    assert (found.counts["label_before_prediction"], found.counts["from_future"]) == (10, 20)
    assert len(collect_rows(RENT, store, found.rows, LATER + 3 * SKEW).rows) == 30


def test_duplicates_go_and_corrections_replace(store: Store) -> None:
    frame = make_frame(30, seed=6)
    ids = log_rows(store, RENT, frame, "v1")
    log_rows(store, RENT, frame[:5], "v1", start=START + 500 * SECOND)  # the same rows, sent twice
    first = collect_rows(RENT, store, None, LATER)
    assert len(first.rows) == 30 and first.counts["duplicates"] == 5
    store.record_labels([Label(ids[7], 1.0)], now=LATER)
    second = collect_rows(RENT, store, first.rows, LATER)
    assert (second.counts["new"], second.counts["corrected"]) == (0, 1)
    assert second.window[ID].tolist() == [ids[7]] and second.window["price"].tolist() == [1.0]
    assert len(second.rows) == 30


def test_old_rows_stay_when_the_log_is_pruned(store: Store, tmp_path: Path) -> None:
    log_rows(store, RENT, make_frame(20, seed=7), "v1")
    first = collect_rows(RENT, store, None, LATER)
    with open_store(f"sqlite:///{tmp_path}/other.db") as empty:
        again = collect_rows(RENT, empty, first.rows, LATER)
    assert hash_frame(again.rows) == hash_frame(first.rows) and not len(again.window)


def test_rows_in_quarantine_are_left_out(store: Store) -> None:
    ids = log_rows(store, RENT, make_frame(20, seed=8), "v1")
    found = collect_rows(RENT, store, None, LATER, set(ids[:4]))
    assert found.counts["in_quarantine"] == 4 and set(found.rows[ID]) == set(ids[4:])
    everything = collect_rows(RENT, store, None, LATER)
    again = collect_rows(RENT, store, everything.rows, LATER, set(ids[:4]))  # corrected, say, and not to be believed
    assert set(again.rows[ID]) == set(ids[4:]) and not len(again.window)


def test_a_day_that_has_not_come_has_no_true_label(store: Store) -> None:
    frame = make_homes(40, 10)
    today = START // 86_400_000_000
    sent = frame.assign(day=frame["day"].where(np.arange(400) != 7, today + 2.0))
    ids = log_rows(store, HOMES, sent, "v1")
    found = collect_rows(HOMES, store, None, LATER)
    assert found.counts["from_future"] == 1 and set(found.rows[ID]) == {*ids[:7], *ids[8:]}
    later = LATER + 2 * 86_400 * SECOND
    whole = collect_rows(HOMES, store, found.rows, later)
    assert whole.counts["from_future"] == 0 and whole.window[ID].tolist() == [ids[7]]
    assert len(collect_rows(HOMES, store, whole.rows, LATER).rows) == 399  # a snapshot that took it is rid of it
    other = collect_rows(FLATS, store, whole.rows, LATER)
    assert len(other.rows) == 400  # their days are a feature, and order nothing


@settings(max_examples=40, deadline=None)
@given(
    order=st.permutations(range(24)),
    cuts=st.lists(st.integers(1, 23), max_size=3),
    copies=st.lists(st.integers(0, 23), max_size=6),
)
def test_order_and_parts_do_not_matter(order: list[int], cuts: list[int], copies: list[int]) -> None:
    frame = make_frame(24, seed=9)[column_names(RENT)]
    frame = conform(RENT, frame)
    frame[TIME] = (np.arange(24) // 2 * SECOND + START).astype("int64")
    frame[ID] = pd.Series([f"id{i:02d}" for i in range(24)], dtype="str")
    whole = merge_rows(RENT, None, [frame], {}).rows
    shuffled = frame.iloc[[*order, *copies]].reset_index(drop=True)
    edges = [0, *sorted(cuts), len(shuffled)]
    parts = [shuffled[a:b] for a, b in pairwise(edges)]
    at_once = merge_rows(RENT, None, parts, {}).rows
    bit_by_bit = None
    for part in parts:
        bit_by_bit = merge_rows(RENT, bit_by_bit, [part], {}).rows
    assert bit_by_bit is not None
    assert hash_frame(whole) == hash_frame(at_once) == hash_frame(bit_by_bit)
