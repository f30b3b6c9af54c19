"""The live judgement: rarely wrong about equals however often it looks, quick about what is worse."""

from __future__ import annotations

import numpy as np
import pytest

from tideline.live_gate import Live, find_width, judge_live
from tideline.pointer import Margins
from tideline.predlog import Moments


def to_moments(values: np.ndarray) -> Moments:
    return Moments.of_sums(len(values), float(values.sum()), float((values**2).sum()))


def watch(
    random: np.random.Generator, worse: float, margins: Margins, rows: int = 4_000, every: int = 50
) -> int | None:
    """After how many labels a challenger is withdrawn whose errors are `worse` times the champion's; None if never."""
    champion, challenger = random.gamma(1.0, 100.0, rows), worse * random.gamma(1.0, 100.0, rows)
    for n in range(50, rows + 1, 50):
        if judge_live(Live(to_moments(champion[:n])), Live(to_moments(challenger[:n])), margins):
            return n
    return None


def test_equals_are_rarely_parted_though_looked_at_eighty_times() -> None:
    random = np.random.default_rng(0)
    parted = sum(watch(random, 1.0, Margins(error=0.0)) is not None for _ in range(200))
    assert parted <= 10  # 5 %


def test_twice_the_error_is_seen_soon() -> None:
    random = np.random.default_rng(1)
    seen = [watch(random, 2.0, Margins()) for _ in range(40)]
    assert all(n is not None and n <= 300 for n in seen)


def test_within_the_margin_nothing_happens() -> None:
    random = np.random.default_rng(2)
    seen = [watch(random, 1.03, Margins(error=0.05), rows=2_000) for _ in range(60)]
    assert sum(n is not None for n in seen) <= 3  # 5 %


def test_width_exceeds_that_of_a_fixed_sample_at_every_size() -> None:
    widths = [find_width(n, 0.05) for n in (30, 100, 500, 5_000, 500_000)]
    assert min(widths) == pytest.approx(find_width(500, 0.05), rel=0.05)
    assert all(2.5 < width < 4.5 for width in widths)


def test_too_few_labels_are_not_judged() -> None:
    losses = Moments(29, 1_000.0, 1.0)
    assert judge_live(Live(Moments(1_000, 1.0, 1.0)), Live(losses), Margins(least=30)) == []
    assert judge_live(Live(Moments(1_000, 1.0, 1.0)), Live(Moments(30, 1_000.0, 1.0)), Margins(least=30))


@pytest.mark.parametrize("absurd", [Moments(99, 1e160, np.inf), Moments(99, np.nan, 0.0), Moments(99, np.inf, 0.0)])
def test_what_is_no_number_is_not_judged(absurd: Moments) -> None:
    assert judge_live(Live(Moments(1_000, 1.0, 1.0)), Live(absurd), Margins()) == []
    assert judge_live(Live(absurd), Live(Moments(1_000, 1.0, 1.0)), Margins()) == []


@pytest.mark.parametrize(("failures", "withdrawn"), [(0, False), (1, False), (15, True), (30, True)])
def test_failures_withdraw(failures: int, withdrawn: bool) -> None:
    champion = Live(attempts=1_000, failures=0)
    assert bool(judge_live(champion, Live(attempts=30, failures=failures), Margins())) is withdrawn


def test_latency_withdraws_and_says_why() -> None:
    champion, slow = Live(latency=Moments(500, 900.0, 300.0)), Live(latency=Moments(50, 2_700.0, 900.0))
    (reason,) = judge_live(champion, slow, Margins(latency=0.5))
    assert reason == (
        "its live latency is 2,700 µs over 50, the champion's 900 µs over 500: worse by more than 50% at 95% confidence"
    )
