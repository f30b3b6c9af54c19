"""Tells people of a retraining that needs them, by the rules of params.yaml (alerts).

What ended stands in the journal until it was told: a store that is away then is no reason to forget it.
"""

from __future__ import annotations

import time

from tideline.alert import Alert, AlertStatus
from tideline.alerts import Sent, raise_alert
from tideline.layout import Layout
from tideline.params import Params
from tideline.predlog import Store, StoreUnavailable
from tideline.retraining.flight import single_flight
from tideline.retraining.journal import TOLD, Line, append_line, find_begun, find_untold, read_lines

TITLES = {
    "quarantined": "new rows of {task} are in quarantine: nothing was learnt from them",
    "failed": "a retraining of {task} failed: the champion stays",
    "refused": "the gate refused what a retraining of {task} made",
    "promoted": "a retraining of {task} made a new champion",
    "canary": "a retraining of {task} made a canary",
}


def tell_end(params: Params, store: Store, layout: Layout) -> Sent | None:
    """Tell how the last retraining, or a collecting that met bad rows, ended, unless that was done.

    Quarantine, failure and refusal are alarms, a new version ends them; nothing else is told (None).

    Raises StoreUnavailable (the next call tells it then), InFlightError if another process retrains the task, or
    TidelineError.
    """
    with single_flight(layout):
        lines = read_lines(layout.decisions)
        end = find_untold(lines)
        if end is None or end.outcome not in TITLES:
            return None
        begun = find_begun(lines, end)
        alert = _describe(layout.task, end, end.reasons or (begun.reasons if begun else ()))
        try:
            sent = raise_alert(params, store, alert)
        except StoreUnavailable as error:
            raise StoreUnavailable(
                f"the retraining of {layout.task} has ended ({end.outcome}), but nobody could be told: {error}; "
                "the next run tells it"
            ) from error
        append_line(layout.decisions, Line(time.time_ns() // 1000, TOLD, end.key, end.trigger, (), end.outcome, {}))
        return sent


def _describe(task: str, end: Line, reasons: tuple[str, ...]) -> Alert:
    status: AlertStatus = "alarm" if end.outcome in ("quarantined", "failed", "refused") else "recovered"
    window = str(end.facts.get("window", ""))  # each is told, however soon after another
    subjects = (end.outcome, window) if window else (end.outcome,)
    return Alert(
        task, str(end.facts["champion"]), "retraining", status, ("retraining",), subjects,
        TITLES[end.outcome].format(task=task), reasons, {"key": end.key},
    )  # fmt: skip
