"""Thompson sampling by shares: it finds the best, keeps trying the others, and costs less than a fixed split."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.bandit import simulate
from tideline.bandit import FLOOR, estimate_regret, share_requests
from tideline.predlog import Moments


def test_without_labels_all_share_alike() -> None:
    assert share_requests([Moments()] * 4) == pytest.approx([0.25] * 4, abs=0.03)


def test_the_better_one_gets_most_and_the_other_goes_on() -> None:
    shares = share_requests([Moments(500, 100.0, 50.0), Moments(500, 80.0, 50.0)])
    assert shares == pytest.approx([FLOOR, 1 - FLOOR], abs=1e-6)
    assert shares == share_requests([Moments(500, 100.0, 50.0), Moments(500, 80.0, 50.0)])


def test_shares_are_the_probabilities_of_being_best() -> None:
    """Two means that differ by one standard error of their difference: Φ(1) = 0.8413."""
    error = 50.0 / np.sqrt(400)
    shares = share_requests([Moments(400, 100.0 + error * np.sqrt(2), 50.0), Moments(400, 100.0, 50.0)], floor=0.0)
    assert shares[1] == pytest.approx(0.8413, abs=0.02)


def test_few_labels_do_not_decide() -> None:
    shares = share_requests([Moments(1_000, 100.0, 100.0), Moments(3, 60.0, 20.0)])
    assert 0.05 < shares[0] < 0.6


def test_regret_counts_what_was_lost() -> None:
    losses = [Moments(10, 100.0, 1.0), Moments(10, 80.0, 1.0), Moments()]
    assert estimate_regret(losses, [1_000, 200, 50]) == 20_000.0
    assert estimate_regret([Moments()], [5]) == 0.0


def test_it_beats_a_fixed_split_though_labels_come_late() -> None:
    ours, fixed = (
        [simulate(policy, (100.0, 90.0, 120.0), rows=6_000, delay=500, seed=seed) for seed in range(20)]
        for policy in ("thompson", "split")
    )
    assert np.mean(ours) < 0.6 * np.mean(fixed)
    assert sum(a < b for a, b in zip(ours, fixed, strict=True)) >= 18
