"""How wrong the window's predictions are: told by labels where there are any, estimated for all rows without them."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import binom, norm

from tideline.monitor.records import Check, Errors
from tideline.monitor.reference import Reference
from tideline.monitor.window import Window
from tideline.params import Monitoring

NO_ERRORS = "the bundle does not say how wrong its validation was: no error is judged; build it again (`dvc repro`)"
NO_MODEL = "the bundle has no model of its errors: none is estimated; build it again (`dvc repro`)"


def check_errors(reference: Reference, window: Window, settings: Monitoring) -> tuple[list[Check], Errors, list[str]]:
    """Checks of realised error, interval coverage and estimated error; the figures; what could not be judged, and why.

    Realised and estimated error: Welch's one-sided test against the validation at training, effect: growth as a share
    of it. Coverage: exact binomial test, effect: how much of the level is lacking.
    """
    checks: list[Check] = []
    notes = [] if reference.error is not None else [NO_ERRORS]
    labelled = window.errors.n
    enough = labelled >= settings.labels
    if labelled and not enough:
        notes.append(f"{labelled} labels are too few to judge errors; {settings.labels} would do")
    if enough and reference.error is not None:
        moments = window.errors
        grown, p_value = _compare_means(moments.n, moments.mean, moments.deviation, *reference.error)
        remark = f"{moments.mean:,.6g} over {moments.n:,} labels, at training {reference.error[1]:,.6g}"
        checks.append(
            Check(
                "error", "realised error", "welch", "error", moments.mean, p_value, grown, settings.error, remark=remark
            )
        )
    for level, inside in window.inside.items() if enough else ():
        share, nominal = inside.mean, float(level)
        p_value = float(binom.cdf(round(share * inside.n), inside.n, nominal))
        remark = f"{share:.1%} of {inside.n:,} labels are inside of {nominal:.0%} intervals"
        checks.append(
            Check("error", f"coverage {nominal:.0%}", "binomial", "error", share, p_value, nominal - share,
                  settings.coverage, remark=remark)
        )  # fmt: skip
    errors = Errors(
        labelled=labelled,
        realised=window.errors.mean if labelled else None,
        reference=None if reference.error is None else reference.error[1],
        coverage={level: inside.mean for level, inside in window.inside.items() if inside.n},
        lag=window.lags.mean if window.lags.n else None,
    )
    return _estimate(reference, window, settings, checks, errors, notes)


def _estimate(
    reference: Reference, window: Window, settings: Monitoring, checks: list[Check], errors: Errors, notes: list[str]
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
    check = Check("error", "estimated error", "loss estimation", "error", float(estimates.mean()), p_value, grown,
                  settings.error, remark=remark)  # fmt: skip
    known = ~np.isnan(sample.errors) if sample.errors is not None else np.zeros(len(estimates), dtype=bool)
    tracked = known.any() and sample.errors is not None
    told = Errors(
        errors.labelled, errors.realised, errors.reference, float(estimates.mean()),
        float(estimates[known].mean()) if tracked else None,
        float(sample.errors[known].mean()) if tracked and sample.errors is not None else None,
        model.skill, errors.coverage, errors.lag,
    )  # fmt: skip
    return [*checks, check], told, notes


def _compare_means(
    n: int, mean: float, deviation: float, size: int, before: float, spread: float
) -> tuple[float, float]:
    """Growth of a mean as a share of what it was, and the p-value of there being none."""
    error = math.sqrt(deviation**2 / n + spread**2 / max(1, size))
    difference = mean - before
    p_value = float(norm.sf(difference / error)) if error > 0 else float(difference <= 0)
    return (difference / before if before > 0 else float(difference > 0)), p_value
