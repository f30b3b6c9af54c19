"""The error that labels bring to light, by version and role, with its 95 % interval.

The interval of a mean is Student's (its quantile by Abramowitz & Stegun 1964, 26.7.5), that of the RMSE the square root
of the ends of the interval of the mean squared error, that of a share Wilson's (1927). They hold for rows that are
independent of each other.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa

from tideline.predlog.database import Database
from tideline.predlog.tables import counts_in_figures, labelled_id, labels, predictions
from tideline.predlog.tally import Moments

_Z = 1.959963984540054
_BATCH = 10_000
_P, _L = predictions.c, labels.c


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; the interval is None where fewer than two labels are known."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class LiveError:
    """How one version does in one role on the predictions since a time.

    n: predictions, labelled: those with a label. Regression has rmse and mae, in the target's unit, classification
    accuracy; all None without labels. coverage: level -> share of labels inside the interval or set.
    """

    version: str
    role: str
    n: int
    labelled: int
    rmse: Estimate | None = None
    mae: Estimate | None = None
    accuracy: Estimate | None = None
    coverage: dict[str, Estimate] = field(default_factory=dict)


def live_error(database: Database, task: str, since: int | None = None, until: int | None = None) -> list[LiveError]:
    """Live error of each version and role of a task, oldest version first.

    since (included) and until (excluded) are µs since 1970-01-01 UTC and limit when a prediction was made, not when its
    label came. Numbers beyond `tables.LARGEST`, which a store may hold from earlier, are left out. Raises
    StoreUnavailable.
    """
    conditions = [_P.task == task]
    conditions += [_P.time >= since] if since is not None else []
    conditions += [_P.time < until] if until is not None else []
    totals = (
        sa.select(_P.version, _P.role, sa.func.count())
        .where(*conditions)
        .group_by(_P.version, _P.role)
        .order_by(sa.func.min(_P.time), _P.role)
    )
    intervals = sa.cast(_P.intervals, sa.Text)
    labelled = (
        sa.select(_P.version, _P.role, _P.prediction, _L.label, _P.predicted_class, _L.label_class, intervals)
        .join(labels, sa.and_(_L.prediction_id == labelled_id, _L.is_current, counts_in_figures()))
        .where(*conditions)
    )  # fmt: skip
    with database.snapshot() as connection:
        counts = connection.execute(totals).all()
        tallies = {(version, role): _Tally() for version, role, _ in counts}
        with connection.execute(labelled.execution_options(yield_per=_BATCH)) as rows:
            for version, role, *row in rows:
                tallies[version, role].add(*row)
    return [tallies[version, role].finish(version, role, n) for version, role, n in counts]


class _Mean:
    """Mean and variance of values that come one by one (Welford 1962): as many as there are take no more memory."""

    __slots__ = ("mean", "n", "squares")

    def __init__(self) -> None:
        self.n, self.mean, self.squares = 0, 0.0, 0.0

    def add(self, value: float) -> None:
        self.n += 1
        step = value - self.mean
        self.mean += step / self.n
        self.squares += step * (value - self.mean)

    @property
    def moments(self) -> Moments:
        return Moments(self.n, self.mean, math.sqrt(self.squares / (self.n - 1)) if self.n > 1 else 0.0)


class _Tally:
    """What the labelled rows of one version in one role come to."""

    def __init__(self) -> None:
        self.square, self.absolute = _Mean(), _Mean()
        self.hits: Counter[bool] = Counter()
        self.covered: dict[str, Counter[bool]] = {}

    def add(
        self, prediction: float | None, label: Any, predicted: str | None, actual: Any, intervals: str | None
    ) -> None:
        if prediction is not None and label is not None:
            self.square.add((prediction - label) ** 2)
            self.absolute.add(abs(prediction - label))
        else:
            self.hits[predicted == actual] += 1
        if not intervals:
            return
        for level, bounds in msgspec.json.decode(intervals).items():
            inside = actual in bounds if label is None else bounds[0] <= label <= bounds[1]
            self.covered.setdefault(level, Counter())[inside] += 1

    def finish(self, version: str, role: str, n: int) -> LiveError:
        coverage = {level: bound_share(c[True] / c.total(), c.total()) for level, c in sorted(self.covered.items())}
        labelled = self.square.n + self.hits.total()
        if self.square.n:
            rmse, mae = bound_root(self.square.moments), bound_mean(self.absolute.moments)
            return LiveError(version, role, n, labelled, rmse=rmse, mae=mae, coverage=coverage)
        accuracy = bound_share(self.hits[True] / labelled, labelled) if labelled else None
        return LiveError(version, role, n, labelled, accuracy=accuracy, coverage=coverage)


def _root(value: float | None) -> float | None:
    return None if value is None else math.sqrt(max(0.0, value))


def bound_mean(moments: Moments) -> Estimate:
    """The mean of at least one value, with Student's interval."""
    n, mean = moments.n, moments.mean
    if n < 2:
        return Estimate(mean, None, None)
    half = student_quantile(n - 1) * moments.deviation / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half)


def bound_root(moments: Moments) -> Estimate:
    """The square root of the mean of at least one square, with the roots of its interval's ends."""
    square = bound_mean(moments)
    return Estimate(math.sqrt(square.value), _root(square.low), _root(square.high))


def bound_share(share: float, n: int) -> Estimate:
    """A share of n, at least one, with Wilson's interval."""
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
    return Estimate(share, max(0.0, centre - half), min(1.0, centre + half))


def student_quantile(degrees: int) -> float:
    """The 0.975 quantile of Student's distribution, to within 0.2 %."""
    if degrees == 1:
        return 12.706204736432095
    if degrees == 2:
        return 4.302652729911275
    z, v = _Z, float(degrees)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )
