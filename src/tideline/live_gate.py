"""Is a challenger worse live than the champion, beyond its margins? Asked again and again while answers come in.

Whoever looks often enough sees every bound of a fixed sample broken by chance. These hold at all moments at once:
asymptotic confidence sequences (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, "Time-uniform central limit theory and
asymptotic confidence sequences", 2021, theorem 2.2), for the difference of two means in Welch's form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tideline.pointer import Margins
from tideline.predlog import NONE, Moments

TYPICAL = 500  # the sample size at which the bounds are tightest


@dataclass(frozen=True)
class Live:
    """What a version did since the trial began. attempts: requests that it was asked, failures: of those."""

    loss: Moments = NONE
    latency: Moments = NONE
    attempts: int = 0
    failures: int = 0


def judge_live(champion: Live, challenger: Live, margins: Margins) -> list[str]:
    """Why the challenger should be withdrawn; empty as long as nothing speaks against it."""
    reasons = []
    for name, unit, own, other, margin in (
        ("error", "", challenger.loss, champion.loss, margins.error),
        ("latency", " µs", challenger.latency, champion.latency, margins.latency),
    ):
        if min(own.n, other.n) < margins.least or not (is_finite(own) and is_finite(other)):
            continue
        # The margin is a share of the champion's mean: own - (1 + margin) * other > 0.
        allowed = Moments(other.n, other.mean * (1 + margin), other.deviation * (1 + margin))
        if find_lower_bound(own, allowed, margins.confidence) > 0:
            reasons.append(
                f"its live {name} is {own.mean:,.6g}{unit} over {own.n:,}, the champion's {other.mean:,.6g}{unit} "
                f"over {other.n:,}: worse by more than {margin:.0%} at {margins.confidence:.0%} confidence"
            )
    if challenger.attempts >= margins.least:
        own, other = _shares(challenger), _shares(champion)
        allowed = Moments(max(other.n, 1), other.mean + margins.failures, other.deviation)
        if find_lower_bound(own, allowed, margins.confidence) > 0:
            reasons.append(
                f"it failed {challenger.failures:,} of {challenger.attempts:,} requests, the champion "
                f"{champion.failures:,} of {champion.attempts:,}"
            )
    return reasons


def find_lower_bound(own: Moments, other: Moments, confidence: float) -> float:
    """Lower bound of mean(own) - mean(other) that holds at every moment with this confidence."""
    variance = own.deviation**2 / own.n + other.deviation**2 / other.n
    return own.mean - other.mean - math.sqrt(variance) * find_width(min(own.n, other.n), 1 - confidence)


def find_width(n: int, alpha: float) -> float:
    """Half-width of the confidence sequence after n values, in standard errors of the mean (a fixed sample's is 1.96
    for alpha 0.05)."""
    tuned = -2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1
    grown = n * tuned / TYPICAL
    return math.sqrt(2 * (grown + 1) / grown * math.log(math.sqrt(grown + 1) / alpha))


def is_finite(moments: Moments) -> bool:
    """False for moments of values so large that nothing can be said about them."""
    return math.isfinite(moments.mean) and math.isfinite(moments.deviation)


def _shares(live: Live) -> Moments:
    # One failure and one success more than seen: a share of 0 or 1 has a spread, too.
    share = (live.failures + 1) / (live.attempts + 2)
    observed = live.failures / live.attempts if live.attempts else 0.0
    return Moments(live.attempts, observed, math.sqrt(share * (1 - share)))
