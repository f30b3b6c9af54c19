"""A window of the prediction log against the champion's reference: read, judge, remember."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tideline.bookkeeping import find_since
from tideline.bundle import load_bundle
from tideline.champion import champion_bundle
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.monitor.judge import judge_window
from tideline.monitor.log import read_window
from tideline.monitor.records import Check, Errors, WindowVerdict, read_verdict
from tideline.monitor.reference import Reference
from tideline.monitor.show import describe_time
from tideline.monitor.skew import check_skew
from tideline.params import Monitoring, Params
from tideline.predlog import SKEW, Store, StoredVerdict

__all__ = ["Check", "Errors", "Span", "WindowVerdict", "list_alarms", "list_history", "monitor", "read_verdict"]

HOUR = 3_600_000_000  # µs


@dataclass(frozen=True)
class Span:
    """Which predictions: those from `since` (included) to `until` (excluded), µs since 1970-01-01 UTC, or the last
    `rows` of them. None: no limit.

    Errors are judged by the labels of these rows. Without `since`, if too few of them have one, by the last `rows` that
    have a label, however old: labels come when they come, and the last rows may never have any yet."""

    since: int | None = None
    until: int | None = None
    rows: int | None = None


def monitor(
    params: Params,
    layout: Layout,
    store: Store,
    span: Span | None = None,
    now: int | None = None,
    progress: Callable[[int], object] = lambda rows: None,
) -> WindowVerdict:
    """Judge a window of the champion's predictions, keep the verdict in the store, and return it. One that has not
    predicted anything yet has a verdict, too: on no rows, stale from its promotion on.

    span: the last `monitoring.rows` predictions if it names nothing. now: µs since 1970-01-01 UTC. Raises
    TidelineError if there is no champion, its bundle is broken, or nothing was predicted before
    `span.until`; StoreUnavailable.
    """
    settings = params.monitoring
    span = span or Span()
    if span == Span(until=span.until):
        span = Span(until=span.until, rows=settings.rows)
    bundle = load_bundle(champion_bundle(layout))
    version, task = bundle.path.name, layout.task
    reference = Reference.of(bundle)
    judged = time.time_ns() // 1000 if now is None else now
    # A row from the future would be in every window until its time has come, and no window would be before another.
    until = judged + SKEW if span.until is None else min(span.until, judged + SKEW)
    last = store.find_last(task, version, until)
    if last is None and span.until is not None:
        raise TidelineError(
            f"{store.place} holds no predictions of {task} {version} as champion in that time; widen the window, or "
            "set TIDELINE_STORE_URL to the store that is meant"
        )
    since = span.since
    if span.rows is not None:
        start = store.find_start(task, version, span.rows, until)
        since = start if since is None or start is None else max(since, start)
    window = read_window(store, reference, version, since, until, params.seed, progress)
    others = []
    if (began := find_since(layout) if last is None else last) is not None:
        looked = judged if span.until is None else min(judged, span.until)
        others.append(check_staleness(looked, began, settings.stale_hours, is_new=last is None))
    if span.until is None and (ahead := check_clock(*store.count_beyond(task, version, until), judged)):
        others.append(ahead)
    sample = window.sample_rows()
    if sample is not None and settings.skew_rows:
        others.append(check_skew(bundle, sample, params.export, settings.skew_rows))
    labelled = None
    if (
        span.since is None
        and span.rows is not None
        and window.rows >= settings.least
        and window.errors.n < settings.labels
    ):
        start = store.find_start(task, version, span.rows, until, labelled=True)
        labelled = read_window(store, reference, version, start, until, params.seed, labelled=True)
    earlier = list_earlier(store, task, version, settings, window.first, (labelled or window).first)
    verdict = judge_window(reference, window, settings, version, judged, earlier, others, labelled)
    keep_verdict(store, verdict)
    return verdict


def keep_verdict(store: Store, verdict: WindowVerdict) -> None:
    """Add a verdict to the store. Where nothing has come since the latest one, and it says the same, it takes its
    place: a silent week leaves one verdict, not one for each time that somebody looked. Raises StoreUnavailable."""
    latest = store.find_verdict(verdict.task, verdict.version, until=verdict.judged + SKEW)
    replaces = None
    if latest is not None and verdict.repeats(read_verdict(latest[1].verdict)):
        replaces = latest[0]
    text = verdict.to_json()
    v, labelled = verdict, verdict.labelled_span or (None, None)
    store.save_verdict(
        StoredVerdict(v.task, v.version, v.judged, v.first, v.last, v.rows, v.status, text, *labelled), replaces
    )


def list_earlier(
    store: Store, task: str, version: str, settings: Monitoring, first: int | None, labelled: int | None
) -> list[WindowVerdict]:
    """The verdicts on the windows before the time `first`, and on the labelled rows before the time `labelled`, as many
    as persistence counts."""
    length = settings.persist - 1
    found = [] if first is None else store.chain_verdicts(task, version, first, length, settings.least)
    found += [] if labelled is None else store.chain_labelled(task, version, labelled, length)
    return [read_verdict(stored.verdict) for stored in found]


def check_staleness(now: int, last: int, hours: float, is_new: bool = False) -> Check:
    """How long nothing has come since the time `last`, which is when the version became champion if it `is_new`. Times
    in µs; statistic and effect in hours."""
    age = max(0.0, (now - last) / HOUR)
    remark = f"the last prediction is {age:,.1f} h old"
    if is_new:
        remark = f"champion for {age:,.1f} h, and has predicted nothing"
    return Check("log", "predictions", "staleness", "quality", age, None, age, hours, remark=remark)


def check_clock(rows: int, last: int | None, now: int) -> Check | None:
    """Predictions that are stamped later than `now`, the last one at `last` (µs); None if there are none. Statistic and
    effect: how many."""
    if not rows or last is None:
        return None
    remark = (
        f"stamped up to {describe_time(last)} UTC and left out until then; now it is {describe_time(now)}: set the "
        "clock of the machine that logged them"
    )
    return Check("log", "clock", "future", "quality", float(rows), None, float(rows), 1.0, remark=remark)


def list_history(
    store: Store, task: str, version: str | None = None, limit: int = 100, until: int | None = None
) -> list[WindowVerdict]:
    """The latest verdicts of a task, the newest first; none from after `until` (µs). Raises StoreUnavailable, or
    TidelineError."""
    return [read_verdict(stored.verdict) for stored in store.list_verdicts(task, version, limit, until)]


def list_alarms(store: Store, task: str, first: int, last: int) -> list[WindowVerdict]:
    """All verdicts with an alarm whose window has a moment from `first` to `last`, µs since 1970-01-01 UTC, the oldest
    first. Raises StoreUnavailable, or TidelineError."""
    return [read_verdict(stored.verdict) for stored in store.list_alarms(task, first, last)]
