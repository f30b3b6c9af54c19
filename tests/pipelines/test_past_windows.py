"""Which windows of the past have no verdict yet: a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.past_windows import DAY, HOUR, find_unjudged, list_windows
from tests.predlog.samples import make_rents
from tideline.contracts import TidelineError
from tideline.monitor import Errors, Span, WindowVerdict
from tideline.predlog import Label, Store, StoredVerdict, open_store

START = 19_700 * DAY
VERSION = "v0001-aaaa"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Ten rows a millisecond apart in the first, second and fourth hour."""
    with open_store(f"sqlite:///{tmp_path / 'log.db'}") as store:
        for hour in (0, 1, 3):
            store.append(make_rents(10, seed=hour, start=START + hour * HOUR, version=VERSION))
        yield store


def save(store: Store, first: int, last: int, version: str = VERSION, labelled: int = 0) -> None:
    text = WindowVerdict(
        "rent", version, last, 10, first, last, "quiet", (), Errors(labelled), 0.01, 3, ("psi",)
    ).to_json()
    store.save_verdict(StoredVerdict("rent", version, last, first, last, 10, "quiet", text))


def test_windows_are_whole_ordered_and_begin_at_the_same_times_each_day() -> None:
    windows = list_windows(None, START + 5 * HOUR, 6, days=1)
    assert windows == [Span(START - DAY + n * 6 * HOUR, START - DAY + (n + 1) * 6 * HOUR) for n in range(4)]
    assert list_windows(None, START + 7 * HOUR, 6, days=1)[:4] == windows
    assert list_windows(START, START + HOUR // 2, 1, days=1) == []
    with pytest.raises(TidelineError, match="not before"):
        list_windows(START, START, 1, days=1)
    with pytest.raises(TidelineError, match="more than 0"):
        list_windows(START, START + DAY, 0, days=1)


def test_windows_with_rows_and_without_a_verdict_on_all_of_them_are_found(store: Store) -> None:
    windows = list_windows(START, START + 4 * HOUR, 1, days=1)
    assert find_unjudged(store, "rent", VERSION, windows) == [windows[0], windows[1], windows[3]]
    save(store, START, START + 9_000)  # all of the first
    save(store, START + HOUR + 1_000, START + HOUR + 9_000)  # all but one row of the second
    save(store, START + 3 * HOUR, START + 3 * HOUR + 8_000)  # not the last row of the fourth
    save(store, START + HOUR, START + HOUR + 9_000, version="v0002-bbbb")  # another version's
    assert find_unjudged(store, "rent", VERSION, windows) == [windows[1], windows[3]]
    save(store, START + HOUR, START + HOUR + 9_000)
    assert find_unjudged(store, "rent", VERSION, windows) == [windows[3]]


def test_windows_are_judged_again_when_labels_have_come_since(store: Store) -> None:
    windows = list_windows(START, START + HOUR, 1, days=1)
    save(store, START, START + 9_000)
    assert find_unjudged(store, "rent", VERSION, windows) == []
    ids = [name for table in store.iterate("rent", START, START + HOUR) for name in table["prediction_id"].to_pylist()]
    store.record_labels([Label(name, 900.0) for name in ids[:4]])
    assert find_unjudged(store, "rent", VERSION, windows) == windows
    save(store, START, START + 9_000, labelled=4)
    assert find_unjudged(store, "rent", VERSION, windows) == []
    store.record_labels([Label(ids[0], 901.0)])  # a correction is no more labels
    assert find_unjudged(store, "rent", VERSION, windows) == []
