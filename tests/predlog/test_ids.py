"""Ids sort as they were made and never repeat."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from tideline.predlog.ids import ID_LENGTH, IdMint, mint_ids


def test_ids_of_many_processes_and_threads_are_unique_and_sorted() -> None:
    mint_ids(1)  # a forked process inherits the parent's state
    with multiprocessing.get_context("fork").Pool(4) as pool:
        parts = pool.map(mint_ids, [5_000] * 8)
    with ThreadPoolExecutor(4) as threads:
        parts += list(threads.map(mint_ids, [5_000] * 8))
    assert all(part == sorted(part) for part in parts)
    ids = [name for part in parts for name in part]
    assert len(set(ids)) == len(ids) == 80_000 and {len(name) for name in ids} == {ID_LENGTH}


@given(st.lists(st.tuples(st.integers(0, 2**44 * 1_000_000), st.integers(0, 40)), max_size=20))
def test_ids_keep_their_order_whatever_the_clock_does(steps: list[tuple[int, int]]) -> None:
    now = 0
    mint = IdMint(lambda: now)
    ids: list[str] = []
    for now, n in steps:  # noqa: B007, the clock reads it
        ids += mint.mint(n)
    assert ids == sorted(set(ids))


def test_more_ids_than_fit_into_a_millisecond() -> None:
    ids = IdMint(lambda: 5_000_000).mint(2**20 + 3)
    assert len(set(ids)) == len(ids) and ids[-4:] == sorted(ids[-4:]) and ids[0][:9] != ids[-1][:9]
