"""Whether to retrain now: a function of facts and settings alone. It acts on nothing; every answer has reasons."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from tideline.params import Retraining
from tideline.predlog import SKEW

Trigger = Literal["by hand", "loss of quality", "schedule", "unfinished", ""]
UNFINISHED: Final = "unfinished"
HOUR, DAY = 3_600_000_000, 86_400_000_000  # µs
PACED: Final = ("schedule", "loss of quality")  # what a pause or the budget forbids
NO_CHAMPION = "there is no champion to compare with: promote a first one"
MONTH = 30 * DAY
FIRST_PAUSE = 0.5  # hours after a failure; it doubles with each more


@dataclass(frozen=True)
class Alarms:
    """What the latest verdict on the champion says. status: "" if there is none. errors: checks of realised and
    estimated error that have stood for enough windows; pending: those that have not yet; drifts,
    faults: alarms about drift and about the data's quality."""

    status: str = ""
    errors: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    drifts: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What a decision rests on. Times: µs since 1970-01-01 UTC. Where nothing calls for a retraining the log is not
    read, and key, labels and fresh are empty.

    key: names champion and labelled rows; what has been done under it is not done again. labels: usable labelled rows
    that came after the champion's, after those of the last retraining that the gate refused against it and after those
    of `withdrawn`, and those whose label was corrected; asked for by hand: `usable`, which is all of them.
    fresh: rows of the fresh holdout. since: when the champion took its place. finished: times of retrainings that came
    to the gate. failed: times of those that failed since. done: how one under this very key ended ("" if there was
    none). unfinished: why one was begun that has no end. by_hand: a person's reason; None: nobody asked. withdrawn:
    versions that came after the champion and were rolled back from, or withdrawn as its challengers. canaries: those on
    trial, which have the share `taken` of the requests; share: what the result is to get as one.
    """

    task: str
    champion: str
    now: int
    key: str = ""
    labels: int = 0
    fresh: int = 0
    since: int | None = None
    alarms: Alarms = field(default_factory=Alarms)
    finished: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    done: str = ""
    unfinished: str = ""
    usable: int = 0
    by_hand: str | None = None
    withdrawn: tuple[str, ...] = ()
    canaries: tuple[str, ...] = ()
    taken: float = 0.0
    share: float = 0.0


@dataclass(frozen=True)
class Decision:
    """act: retrain. trigger: what for. reasons: why, or why not, each a sentence."""

    act: bool
    trigger: Trigger
    reasons: tuple[str, ...]


def decide_early(facts: Facts, settings: Retraining) -> Decision:
    """What can be decided before the log is read, which takes long: to wait, or (`act`) that it has to be read."""
    trigger, because = _find_trigger(facts, settings)
    if not facts.champion:
        return Decision(False, trigger, (NO_CHAMPION,))
    if not trigger:
        return Decision(False, trigger, because)
    forbidding = _check_pace(facts, settings) if trigger in PACED else []
    return Decision(not forbidding, trigger, (*forbidding, *because))


def decide(facts: Facts, settings: Retraining) -> Decision:
    """Retrain if something calls for it and nothing forbids it.

    A person's wish overrides that an alarm is lacking, a canary on trial, the pause and the budget. It overrides
    neither that the very same was done already, nor a lack of labels, or of room for one more canary; nor quarantine
    and single flight, which are checked elsewhere.
    """
    trigger, because = _find_trigger(facts, settings)
    if not facts.champion:
        return Decision(False, trigger, (NO_CHAMPION,))
    if facts.done:
        said = f"this was done already: the same champion and the same labelled rows ({facts.done})"
        return Decision(False, trigger, (said,))
    if not trigger:
        return Decision(False, trigger, because)
    forbidding = []
    if facts.labels < settings.labels and trigger != UNFINISHED:
        forbidding.append(
            f"{facts.labels:,} new labelled rows are too few; {settings.labels:,} would do (params.yaml: "
            "retraining.labels)"
            + (f"; what {', '.join(facts.withdrawn)} had learnt is not new: withdrawn" if facts.withdrawn else "")
        )
    if facts.fresh < settings.fresh_rows:
        forbidding.append(
            f"the fresh holdout would have {facts.fresh:,} rows, too few to judge a challenger; "
            f"{settings.fresh_rows:,} would do (params.yaml: retraining.fresh_rows)"
        )
    if facts.share and facts.taken + facts.share > 1:
        forbidding.append(
            f"the canaries on trial ({', '.join(facts.canaries)}) have {facts.taken:.0%} already, {facts.share:.0%} "
            "more is above 100 %"
        )
    overridden = _check_pace(facts, settings)
    if trigger in PACED:
        forbidding += overridden
        overridden = []
    if forbidding:
        return Decision(False, trigger, (*forbidding, *because))
    return Decision(True, trigger, (*because, *(f"overridden: {reason}" for reason in overridden)))


def _find_trigger(facts: Facts, settings: Retraining) -> tuple[Trigger, tuple[str, ...]]:
    alarms = facts.alarms
    if facts.by_hand is not None:
        return "by hand", (f"by hand{f': {facts.by_hand}' if facts.by_hand else ''}",)
    if facts.unfinished:
        return UNFINISHED, (f"a retraining was begun and never finished ({facts.unfinished})",)
    if alarms.errors:
        return "loss of quality", tuple(f"persistent loss of quality: {error}" for error in alarms.errors)
    last = max(_drop_future(facts, (*facts.finished, *(() if facts.since is None else (facts.since,)))), default=None)
    if settings.every_days > 0 and last is not None and (age := (facts.now - last) / DAY) >= settings.every_days:
        said = f"{age:,.1f} days since the last training or change of champion, the schedule says"
        return "schedule", (f"{said} {settings.every_days:g}",)
    if not alarms.status:
        return "", ("no verdict on the champion yet, in its present place: run `tideline monitor`",)
    reasons = [f"the verdict is {alarms.status}: no persistent loss of quality"]
    reasons += [f"not for enough windows in a row yet: {pending}" for pending in alarms.pending]
    if alarms.drifts:
        reasons.append(f"drift alone is not enough: {', '.join(alarms.drifts)}")
    if alarms.faults:
        reasons.append(f"faults of the data are to be repaired, not learnt: {', '.join(alarms.faults)}")
    return "", tuple(reasons)


def _check_pace(facts: Facts, settings: Retraining) -> list[str]:
    reasons = [f"{canary} is a canary on trial: its end comes first" for canary in facts.canaries]
    finished, failed = _drop_future(facts, facts.finished), _drop_future(facts, facts.failed)
    last = max(finished, default=None)
    if last is not None and facts.now - last < settings.cooldown_hours * HOUR:
        reasons.append(
            f"the last retraining was {max(0, facts.now - last) / HOUR:,.1f} h ago, the pause is "
            f"{settings.cooldown_hours:g} h (params.yaml: retraining.cooldown_hours)"
        )
    lately = sum(facts.now - time < MONTH for time in finished)
    if lately >= settings.budget:
        reasons.append(
            f"{lately} retrainings in 30 days are all that may be (params.yaml: retraining.budget {settings.budget})"
        )
    if failed and (waited := facts.now - failed[-1]) < (pause := _find_pause(len(failed), settings)) * HOUR:
        reasons.append(
            f"{len(failed)} in a row failed, the last one {waited / HOUR:,.1f} h ago; it is tried again after "
            f"{pause:g} h"
        )
    return reasons


def _drop_future(facts: Facts, times: tuple[int, ...]) -> tuple[int, ...]:
    """The times without those that a clock which ran ahead had stamped."""
    return tuple(time for time in times if time <= facts.now + SKEW)


def _find_pause(failures: int, settings: Retraining) -> float:
    """Hours after the last failure: few at first, since many a cause passes, and no more than after a success."""
    return float(min(FIRST_PAUSE * 2.0 ** (failures - 1), settings.cooldown_hours))
