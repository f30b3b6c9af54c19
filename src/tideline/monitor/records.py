"""What a window was found to be: frozen records, JSON-ready. Times are µs since 1970-01-01 UTC."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal

import msgspec

from tideline.contracts import TidelineError

Status = Literal["quiet", "watch", "alarm", "undecided"]
Part = Literal["column", "answer", "error", "log"]
Concern = Literal["quality", "drift", "error"]
QUIET: Final = "quiet"
WATCH: Final = "watch"
ALARM: Final = "alarm"
UNDECIDED: Final = "undecided"
ESTIMATE: Final = "loss estimation"  # the test that needs no labels


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    p_value: by itself; adjusted: over all checks of the window. breached: the effect reaches its threshold, and
    chance does not explain it. windows: how many in a row, this one included, in which `part` and `subject` were
    breached under this concern. alarm: that is enough of them (quality: one).
    """

    part: Part
    subject: str
    test: str
    concern: Concern
    statistic: float
    p_value: float | None
    effect: float
    threshold: float
    adjusted: float | None = None
    breached: bool = False
    windows: int = 0
    alarm: bool = False
    remark: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What must be breached again to persist: whichever test says so."""
        return self.part, self.subject, self.concern

    @property
    def by_labels(self) -> bool:
        """True if labels tell it, which may be of other rows than the window's."""
        return self.part == "error" and self.test != ESTIMATE


@dataclass(frozen=True)
class LabelledSpan:
    """The rows by whose labels errors are judged: how many, and when the first and the last were predicted."""

    rows: int
    first: int
    last: int


@dataclass(frozen=True)
class Errors:
    """How wrong predictions were, where labels are known, and how wrong all of the window's are estimated to be.

    labelled: rows of the window that have a label. span: the labelled rows whose errors these are, which may be older
    than the window; None: the window's own, in a verdict of an older tideline. realised, reference, estimated: mean
    absolute errors in the target's unit (classes: error rates), of the labelled rows, of the validation at training, of
    all rows of the window without labels. estimated_labelled: the estimate for a sample of the labelled rows, to be
    held against realised_labelled, what came of the same rows. coverage: level -> share of labels inside. lag: mean
    seconds from prediction to label.
    """

    labelled: int = 0
    realised: float | None = None
    reference: float | None = None
    estimated: float | None = None
    estimated_labelled: float | None = None
    realised_labelled: float | None = None
    skill: float | None = None
    coverage: dict[str, float] = field(default_factory=dict)
    lag: float | None = None
    span: LabelledSpan | None = None


@dataclass(frozen=True)
class WindowVerdict:
    """The verdict on one window of one version's predictions. first, last: times of its rows; None if it is empty."""

    task: str
    version: str
    judged: int
    rows: int
    first: int | None
    last: int | None
    status: Status
    checks: tuple[Check, ...]
    errors: Errors
    alpha: float
    persist: int
    tests: tuple[str, ...]
    notes: tuple[str, ...] = ()
    least: int | None = None  # rows that it took to be judged; None: an older tideline judged it

    @property
    def enough(self) -> bool:
        """False if it had too few rows: then only the log itself was judged (staleness, skew), and neither what it
        breaches nor what it does not says anything of the columns."""
        if self.least is not None:
            return self.rows >= self.least
        return self.status in (QUIET, WATCH) or any(check.part != "log" for check in self.checks)

    @property
    def labelled_span(self) -> tuple[int, int] | None:
        """When the first and the last of the rows were predicted whose labels it judged; None if it judged none."""
        if not any(check.by_labels for check in self.checks):
            return None
        if self.errors.span is not None:
            return self.errors.span.first, self.errors.span.last
        return None if self.first is None or self.last is None else (self.first, self.last)

    @property
    def breaches(self) -> tuple[Check, ...]:
        """The checks that are breached, the alarms first, the larger effects (in thresholds) first."""
        found = (check for check in self.checks if check.breached)
        return tuple(sorted(found, key=lambda c: (not c.alarm, -c.effect / c.threshold if c.threshold else 0.0)))

    @property
    def alarms(self) -> tuple[Check, ...]:
        """The checks that are alarms."""
        return tuple(check for check in self.breaches if check.alarm)

    def repeats(self, other: WindowVerdict) -> bool:
        """True if the other says the same of the same window, whenever it was judged: the age of the last prediction
        may have grown, short of a breach."""

        def strip(check: Check) -> Check:
            return replace(check, statistic=0.0, effect=0.0, remark="") if check.test == "staleness" else check

        mine, its = (replace(v, judged=0, checks=tuple(map(strip, v.checks))) for v in (self, other))
        return mine == its

    def to_json(self) -> str:
        """As it is kept in the store."""
        return msgspec.json.encode(self).decode()


def read_verdict(text: str | bytes) -> WindowVerdict:
    """What `to_json` wrote. Raises TidelineError."""
    try:
        return msgspec.json.decode(text, type=WindowVerdict)
    except msgspec.MsgspecError as error:
        raise TidelineError(
            f"a stored verdict cannot be read ({error}); another tideline wrote it: use that one"
        ) from None
