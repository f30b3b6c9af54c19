"""Sticky keys move between the champion and the canary whose share changes, and nowhere else."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tideline.places import Stretch, share_out

KEYS = [(i + 0.5) / 2_000 for i in range(2_000)]
SHARES = st.sampled_from([0.0, 0.01, 0.1, 0.123456, 1 / 3, 0.5, 0.9, 1.0])


def find_answerers(places: list[tuple[Stretch, ...]]) -> list[int]:
    """Who answers each key: a canary's number, or -1."""
    stretches = sorted((start, stop, i) for i, own in enumerate(places) for start, stop in own)
    starts = [start for start, _, _ in stretches]
    assert all(a[1] <= b[0] for a, b in pairwise(stretches))  # none has what another has
    found = []
    for key in KEYS:
        place = bisect_right(starts, key) - 1
        found.append(stretches[place][2] if place >= 0 and key < stretches[place][1] else -1)
    return found


def check_lengths(places: list[tuple[Stretch, ...]], shares: list[float]) -> None:
    assert [sum(b - a for a, b in own) for own in places] == pytest.approx(shares, abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(acts=st.lists(st.tuples(st.integers(0, 3), SHARES), max_size=25))
def test_one_share_that_changes_moves_its_own_keys_alone(acts: list[tuple[int, float]]) -> None:
    shares: list[float] = [0.0] * 4
    places: list[tuple[Stretch, ...]] = [()] * 4
    for changed, share in acts:
        if sum(shares) - shares[changed] + share > 1:
            continue
        before, shares[changed] = find_answerers(places), share
        places = share_out(zip(places, shares, strict=True))
        check_lengths(places, shares)
        moved = {pair for pair in zip(before, find_answerers(places), strict=True) if pair[0] != pair[1]}
        assert moved <= {(-1, changed)} or moved <= {(changed, -1)}


@settings(max_examples=100, deadline=None)
@given(shares=st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=2, max_size=2))
def test_all_shares_may_change_at_once(shares: list[list[float]]) -> None:
    """As a bandit does; who has the same share of the same stretches is told the same in every process."""
    places: list[tuple[Stretch, ...]] = [()] * 3
    for three in shares:
        told = [share / max(1.0, sum(three)) for share in three]
        places = share_out(zip(places, told, strict=True))
        check_lengths(places, told)
        find_answerers(places)
        assert share_out(zip(places, told, strict=True)) == places
