"""Thompson sampling against fixed splits, simulated: `python -m benchmarks.bandit [--runs 100]`.

Requests come one by one and are answered by one of several versions; the loss (exponential, of the version's mean) is
known `delay` requests later. Regret is the expected loss above that of always asking the best version.
"""

from __future__ import annotations

import argparse
from typing import Literal

import numpy as np

from tideline.bandit import share_requests
from tideline.predlog import Moments

Policy = Literal["thompson", "split", "canary"]
REFRESH = 100  # requests between two looks at the labels
CASES = {"one is 10 % better": (100.0, 90.0), "one of three is 10 % better": (100.0, 90.0, 120.0),
         "the canary is 20 % worse": (100.0, 120.0), "all alike": (100.0, 100.0)}  # fmt: skip


def main() -> None:
    """Print mean regret and its standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--delay", type=int, default=1_000)
    arguments = parser.parse_args()
    print(f"regret after {arguments.rows:,} requests, labels {arguments.delay:,} requests late, {arguments.runs} runs")
    print(f"{'mean loss of champion and canaries':40s}{'Thompson':>18s}{'even split':>18s}{'canaries 10 %':>18s}")
    for name, means in CASES.items():
        cells = []
        for policy in ("thompson", "split", "canary"):
            found = [simulate(policy, means, arguments.rows, arguments.delay, s) for s in range(arguments.runs)]
            cells.append(f"{np.mean(found):10,.0f} ± {np.std(found) / np.sqrt(len(found)):,.0f}")
        print(f"{name:40s}" + "".join(f"{cell:>18s}" for cell in cells))


def simulate(policy: Policy, means: tuple[float, ...], rows: int, delay: int, seed: int) -> float:
    """Regret of one run."""
    random = np.random.default_rng(seed)
    arms = np.zeros(rows, dtype=np.int64)
    losses = np.zeros(rows)
    shares = [1 / len(means)] * len(means)
    if policy == "canary":
        shares = [1 - 0.1 * (len(means) - 1)] + [0.1] * (len(means) - 1)
    for start in range(0, rows, REFRESH):
        if policy == "thompson":
            known = slice(0, max(0, start - delay))
            shares = share_requests([_measure(losses[known][arms[known] == arm]) for arm in range(len(means))])
        stop = min(rows, start + REFRESH)
        arms[start:stop] = random.choice(len(means), size=stop - start, p=shares)
        losses[start:stop] = random.exponential(np.array(means)[arms[start:stop]])
    return float((np.array(means)[arms] - min(means)).sum())


def _measure(values: np.ndarray) -> Moments:
    return Moments.of_sums(len(values), float(values.sum()), float((values**2).sum()))


if __name__ == "__main__":
    main()
