"""A counted window and its reference -> the verdict. Pure: what was found earlier comes in as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tideline import catalog
from tideline.binned import Binned
from tideline.contracts import DriftSpec
from tideline.monitor.correction import adjust_holm
from tideline.monitor.errors import check_errors
from tideline.monitor.persistence import chain_labelled, chain_windows, mark_alarms
from tideline.monitor.records import ALARM, QUIET, UNDECIDED, WATCH, Check, Errors, Part, Status, WindowVerdict
from tideline.monitor.reference import Reference, Subject
from tideline.monitor.window import Window
from tideline.params import Monitoring

SHOWN_NAMES = 5


def judge_window(
    reference: Reference,
    window: Window,
    settings: Monitoring,
    version: str,
    judged: int,
    earlier: Iterable[WindowVerdict] = (),
    others: Sequence[Check] = (),
    labelled: Window | None = None,
) -> WindowVerdict:
    """The verdict on a window of one version's predictions.

    judged: the time of now, µs. earlier: verdicts on windows of the same version, in any order; those that overlap
    are left out. others: checks that were made elsewhere (staleness, skew). labelled: the labelled rows by which errors
    are judged, if they are not the window's own. With fewer rows than `settings.least` only `others` are judged.
    Raises TidelineError for an unknown test.
    """
    specs = [catalog.get_drift(name) for name in settings.tests]
    checks, errors = list(others), Errors(labelled=window.errors.n)
    notes: list[str] = []
    enough = window.rows >= settings.least
    if enough:
        found, notes = check_drift(reference, window, specs)
        wrong, errors, lacking = check_errors(reference, window, settings, window if labelled is None else labelled)
        checks += [*found, *wrong]
        notes += lacking
    else:
        notes.append(
            f"{window.rows:,} rows are too few to judge; {settings.least:,} would do (params.yaml: monitoring.least)"
        )
    earlier = list(earlier)
    decided = decide_breaches(checks, settings.alpha)
    chain = [] if window.first is None else chain_windows(window.first, earlier, settings.persist - 1)
    told = [] if errors.span is None else chain_labelled(errors.span.first, earlier, settings.persist - 1)
    marked = mark_alarms(decided, chain, told, settings.persist)
    status: Status = QUIET
    if any(check.alarm for check in marked):
        status = ALARM
    elif not enough:
        status = UNDECIDED
    elif any(check.breached for check in marked):
        status = WATCH
    return WindowVerdict(
        reference.manifest.task, version, judged, window.rows, window.first, window.last, status, marked, errors,
        settings.alpha, settings.persist, settings.tests, tuple(notes), settings.least,
    )  # fmt: skip


def check_drift(reference: Reference, window: Window, specs: Sequence[DriftSpec]) -> tuple[list[Check], list[str]]:
    """Every test on every column, and on the predictions, whose kind it takes; which tests could not be computed."""
    checks: list[Check] = []
    lacking: dict[str, list[str]] = {}
    parts: tuple[tuple[Part, Mapping[str, Subject], Mapping[str, Binned]], ...] = (
        ("column", reference.columns, window.finish_columns()),
        ("answer", reference.answers, window.finish_answers()),
    )
    for part, subjects, counted in parts:
        for name, subject in subjects.items():
            for spec in specs:
                if subject.axis.kind not in spec.kinds:
                    continue
                if not subject.keys.issuperset(spec.needs):
                    lacking.setdefault(spec.name, []).append(name)
                    continue
                found = spec.compute(subject.counts, counted[name])
                remark = ""
                if part == "column" and spec.name == "unknown_categories":
                    unknown = sorted(window.columns[name].unknown.items(), key=lambda item: -item[1])[:SHOWN_NAMES]
                    remark = ", ".join(f"{text} ({count:,})" for text, count in unknown)
                checks.append(
                    Check(part, name, spec.name, spec.concern, found.statistic, found.p_value, found.effect,
                          spec.threshold, remark=remark)
                )  # fmt: skip
    notes = [
        f"{test} was not computed for {', '.join(names)}: the bundle's sketch lacks what it needs; build it again "
        "(`dvc repro`)"
        for test, names in lacking.items()
    ]
    return checks, notes


def decide_breaches(checks: Sequence[Check], alpha: float) -> list[Check]:
    """Checks with `adjusted` and `breached` filled in. The p-values of all checks are adjusted together (Holm)."""
    tested = [i for i, check in enumerate(checks) if check.p_value is not None]
    adjusted = dict(zip(tested, adjust_holm([checks[i].p_value or 0.0 for i in tested]), strict=True))

    def decide(i: int, check: Check) -> Check:
        by_chance = i in adjusted and adjusted[i] >= alpha
        breached = check.effect >= check.threshold and not by_chance
        return replace(check, adjusted=adjusted.get(i), breached=breached)

    return [decide(i, check) for i, check in enumerate(checks)]
