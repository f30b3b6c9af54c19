"""Thompson sampling over champion and canaries: each answers with the probability that it is the best of them.

A version's reward is the loss that labels bring to light, so it comes late and in bulk. Instead of drawing from the
posteriors at every request, the probability of being the best is computed when labels have come, and requests are
shared by it: the same law of choice (Thompson 1933), and a sticky key keeps its version as long as shares hold.

The posterior of a mean loss is that of a normal with unknown mean and variance under a weak prior: one observation
like those of all versions together (Murphy, "Conjugate Bayesian analysis of the Gaussian distribution", 2007).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tideline.predlog import Moments

FLOOR = 0.01  # every version goes on to be tried: labels come late, and the world changes
DRAWS = 4_000


def share_requests(losses: Sequence[Moments], floor: float = FLOOR, draws: int = DRAWS) -> list[float]:
    """Share of the requests of each version, from the moments of its loss. Equal data gives equal shares.

    Without any label all have the same share.
    """
    count = len(losses)
    if count * floor > 1:
        raise ValueError(f"{count} versions cannot have {floor:.0%} each")
    best = np.bincount(_draw(losses, draws).argmin(axis=0), minlength=count) / draws
    return [float(floor + (1 - count * floor) * share) for share in best]


def estimate_regret(losses: Sequence[Moments], answered: Sequence[int]) -> float:
    """Loss that was paid for not having sent every request to the version that now looks best, in the loss's unit.

    Versions without a label are left out: nothing is known of what they cost.
    """
    known = [(moments.mean, n) for moments, n in zip(losses, answered, strict=True) if moments.n]
    if not known:
        return 0.0
    best = min(mean for mean, _ in known)
    return sum(n * (mean - best) for mean, n in known)


def _draw(losses: Sequence[Moments], draws: int) -> NDArray[np.float64]:
    """Draws of each version's mean loss, (versions, draws)."""
    random = np.random.default_rng(0)
    total = sum(m.n for m in losses)
    pooled = sum(m.n * m.mean for m in losses) / total if total else 0.0
    squares = sum(max(m.n - 1, 0) * m.deviation**2 + m.n * (m.mean - pooled) ** 2 for m in losses)
    spread = squares / total if total and squares > 0 else 1.0
    means = []
    for m in losses:
        n, mean = 1 + m.n, (pooled + m.n * m.mean) / (1 + m.n)
        shape = 1 + m.n / 2
        scale = spread + max(m.n - 1, 0) * m.deviation**2 / 2 + m.n * (m.mean - pooled) ** 2 / (2 * n)
        variance = scale / random.gamma(shape, size=draws)
        means.append(random.normal(mean, np.sqrt(variance / n)))
    return np.array(means)
