"""How long a challenger takes beside the champion, on the same row and in turns. What requests wait says little of it:
they wait for each other's batches, and a slow canary makes the champion's requests wait as well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import msgspec

from serving.errors import Refusal
from serving.live_model import LiveModel
from serving.schema import Row
from tideline.predlog import NONE, Moments

RUNS = 5  # of which the fastest counts: the others met something else on the machine
ENOUGH_SECONDS = 0.05  # a slow one is timed once: the longer a look takes, the later comes the next (trial.py)

Trial = tuple[str, int]  # a challenger's version, and when it began (µs since 1970-01-01 UTC)


@dataclass(slots=True)
class _Times:
    """Sums of what was measured, µs."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, micros: float) -> None:
        self.n += 1
        self.total += micros
        self.squares += micros * micros

    @property
    def moments(self) -> Moments:
        return Moments.of_sums(self.n, self.total, self.squares)


class Stopwatch:
    """Collects a time of each challenger, and one of its champion, at every call of `measure`. For one thread."""

    def __init__(self) -> None:
        self._times: dict[Trial, tuple[_Times, _Times]] = {}

    def measure(self, champion: LiveModel, challengers: Mapping[Trial, LiveModel]) -> None:
        """Time each on an example row that both take; those without one are left out. Trials that are not named are
        forgotten."""
        self._times = {trial: self._times.get(trial, (_Times(), _Times())) for trial in challengers}
        for trial, challenger in challengers.items():
            pair = champion, challenger
            if (rows := _find_rows(*pair)) is None:
                continue
            fastest, begin = [math.inf, math.inf], perf_counter()
            for _ in range(RUNS):
                for i, model in enumerate(pair):
                    start = perf_counter()
                    model.predict(rows[i])
                    fastest[i] = min(fastest[i], perf_counter() - start)
                if perf_counter() - begin > ENOUGH_SECONDS:
                    break
            for times, seconds in zip(self._times[trial], fastest, strict=True):
                times.add(1e6 * seconds)

    def read(self, trial: Trial) -> tuple[Moments, Moments]:
        """What was measured so far (µs), of the champion and of the challenger."""
        found = self._times.get(trial)
        return (NONE, NONE) if found is None else (found[0].moments, found[1].moments)


def _find_rows(champion: LiveModel, challenger: LiveModel) -> tuple[Sequence[Row], Sequence[Row]] | None:
    for example in [*champion.examples, *challenger.examples]:
        body = msgspec.json.encode({"rows": [example]})
        try:
            return champion.decoder.decode(body), challenger.decoder.decode(body)
        except Refusal:  # the other's contract differs
            continue
    return None
