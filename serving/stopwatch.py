"""How long versions take, on the same row and in turns. What requests wait says little of it: they wait for each
other's batches, and a slow canary makes the champion's requests wait as well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from time import perf_counter

import msgspec

from serving.live_model import LiveModel
from tideline.predlog import NONE, Moments

RUNS = 5  # of which the fastest counts: the others met something else on the machine


class Stopwatch:
    """Collects a time (µs) of each version at every call of `measure`. For one thread at a time."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, float, float]] = {}

    def measure(self, versions: Sequence[LiveModel]) -> None:
        """Time each on an example row of its own bundle; those without one are left out."""
        for champion in versions:
            if not champion.examples:
                continue
            rows = champion.decoder.decode(msgspec.json.encode({"rows": champion.examples[:1]}))
            fastest = math.inf
            for _ in range(RUNS):
                start = perf_counter()
                champion.predict(rows)
                fastest = min(fastest, perf_counter() - start)
            n, total, squares = self._sums.get(champion.version, (0, 0.0, 0.0))
            micros = 1e6 * fastest
            self._sums[champion.version] = n + 1, total + micros, squares + micros * micros

    def read(self, version: str) -> Moments:
        """What was measured so far."""
        found = self._sums.get(version)
        return NONE if found is None else Moments.of_sums(*found)
