"""How wrong the window's predictions are: told by labels where there are any, estimated for all rows without them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy.stats import binom, norm

from tideline.error_model import ErrorModel
from tideline.monitor.records import ESTIMATE, Check, Errors, LabelledSpan
from tideline.monitor.reference import Reference
from tideline.monitor.window import Window
from tideline.params import Monitoring

NO_ERRORS = "the bundle does not say how wrong its validation was: no error is judged; build it again (`dvc repro`)"
NO_MODEL = "the bundle has no model of its errors: none is estimated; build it again (`dvc repro`)"


def check_errors(
    reference: Reference, window: Window, settings: Monitoring, told: Window
) -> tuple[list[Check], Errors, list[str]]:
    """Checks of realised error, interval coverage and estimated error; the figures; what could not be judged, and why.

    told: the rows whose labels tell the first two, and how good the estimate is.
    Realised and estimated error: Welch's one-sided test against the validation at training, effect: growth as a share
    of it. Coverage: exact binomial test, effect: how much of the level is lacking.
    """
    checks: list[Check] = []
    notes = [] if reference.error is not None else [NO_ERRORS]
    labelled = told.errors.n
    enough = labelled >= settings.labels
    if labelled and not enough:
        notes.append(f"{labelled} labels are too few to judge errors; {settings.labels} would do")
    if enough and reference.error is not None:
        moments = told.errors
        grown, p_value = _compare_means(moments.n, moments.mean, moments.deviation, *reference.error)
        remark = f"{moments.mean:,.6g} over {moments.n:,} labels, at training {reference.error[1]:,.6g}"
        checks.append(
            Check(
                "error", "realised error", "welch", "error", moments.mean, p_value, grown, settings.error, remark=remark
            )
        )
    for level, inside in told.inside.items() if enough else ():
        share, nominal = inside.mean, float(level)
        p_value = float(binom.cdf(round(share * inside.n), inside.n, nominal))
        remark = f"{share:.1%} of {inside.n:,} labels are inside of {nominal:.0%} intervals"
        checks.append(
            Check("error", f"coverage {nominal:.0%}", "binomial", "error", share, p_value, nominal - share,
                  settings.coverage, remark=remark)
        )  # fmt: skip
    errors = Errors(
        labelled=window.errors.n,
        realised=told.errors.mean if labelled else None,
        reference=None if reference.error is None else reference.error[1],
        coverage={level: inside.mean for level, inside in told.inside.items() if inside.n},
        lag=told.lags.mean if told.lags.n else None,
        span=_find_span(told),
    )
    return _estimate(reference, window, settings, told, checks, errors, notes)


def _find_span(told: Window) -> LabelledSpan | None:
    if not told.errors.n or told.first is None or told.last is None:
        return None
    return LabelledSpan(told.errors.n, told.first, told.last)


def _estimate(
    reference: Reference,
    window: Window,
    settings: Monitoring,
    told: Window,
    checks: list[Check],
    errors: Errors,
    notes: list[str],
) -> tuple[list[Check], Errors, list[str]]:
    model, sample = reference.error_model, window.sample_rows()
    if model is None:
        return checks, errors, [*notes, NO_MODEL]
    if sample is None:
        return checks, errors, notes
    estimates = model.estimate(sample.columns, np.asarray(sample.answers[reference.told], dtype=np.float64))
    size = 10**9 if reference.error is None else reference.error[0]
    grown, p_value = _compare_means(
        len(estimates), float(estimates.mean()), float(estimates.std()), size, model.mean, model.deviation
    )
    remark = f"{estimates.mean():,.6g} over {len(estimates):,} rows, at training {model.mean:,.6g}"
    check = Check("error", "estimated error", ESTIMATE, "error", float(estimates.mean()), p_value, grown,
                  settings.error, remark=remark)  # fmt: skip
    guessed, realised = _track(reference, model, told)
    figures = replace(
        errors, estimated=float(estimates.mean()), estimated_labelled=guessed, realised_labelled=realised,
        skill=model.skill,
    )  # fmt: skip
    return [*checks, check], figures, notes


def _track(reference: Reference, model: ErrorModel, told: Window) -> tuple[float | None, float | None]:
    """The estimate for a sample of the labelled rows, and what came of the same rows."""
    sample = told.sample_rows()
    if sample is None or sample.errors is None or not (known := ~np.isnan(sample.errors)).any():
        return None, None
    estimates = model.estimate(sample.columns, np.asarray(sample.answers[reference.told], dtype=np.float64))
    return float(estimates[known].mean()), float(sample.errors[known].mean())


def _compare_means(
    n: int, mean: float, deviation: float, size: int, before: float, spread: float
) -> tuple[float, float]:
    """Growth of a mean as a share of what it was, and the p-value of there being none."""
    error = math.sqrt(deviation**2 / n + spread**2 / max(1, size))
    difference = mean - before
    p_value = float(norm.sf(difference / error)) if error > 0 else float(difference <= 0)
    return (difference / before if before > 0 else float(difference > 0)), p_value
