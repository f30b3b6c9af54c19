"""Tells people of a retraining that needs them, by the rules of params.yaml (alerts)."""

from __future__ import annotations

from tideline.alert import Alert, AlertStatus
from tideline.alerts import Sent, deliver_alerts, raise_alert
from tideline.params import Params
from tideline.predlog import Store
from tideline.retraining.run import Outcome

TITLES = {
    "quarantined": "new rows of {task} are in quarantine: nothing was learnt from them",
    "refused": "the gate refused what a retraining of {task} made",
    "promoted": "a retraining of {task} made a new champion",
    "canary": "a retraining of {task} made a canary",
}


def tell_outcome(params: Params, store: Store, outcome: Outcome) -> Sent:
    """Quarantine and refusal are alarms, a new version ends them. Nothing else is told, but what an earlier run could
    not deliver is tried again. Raises TidelineError, StoreUnavailable."""
    title = TITLES.get(outcome.name)
    if title is None:
        return deliver_alerts(params, store)
    facts = outcome.facts
    status: AlertStatus = "alarm" if outcome.name in ("quarantined", "refused") else "recovered"
    alert = Alert(
        facts.task, facts.champion, "retraining", status, ("retraining",), (outcome.name,),
        title.format(task=facts.task), outcome.reasons or outcome.decision.reasons, {"key": facts.key},
    )  # fmt: skip
    return raise_alert(params, store, alert)
