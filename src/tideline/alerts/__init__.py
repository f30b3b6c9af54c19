"""Tells people what the monitor and retraining find: once, and in the end.

    sent = send_alerts(params, store, verdict)
    sent = raise_alert(params, store, Alert("housing", version, "retraining", "alarm", ("retraining",), ...))

Rules are in params.yaml (alerts), addresses in the environment, what was told in the store; docs/monitoring.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial

from tideline.alert import Alert, read_alert
from tideline.alerts.deciding import MONITOR, RECOVERED, decide_on_alert, decide_on_verdict
from tideline.alerts.delivery import deliver_waiting, find_channels
from tideline.alerts.records import Delivery, Sent
from tideline.monitor.records import WindowVerdict
from tideline.params import AlertRule, Params
from tideline.predlog import Store, StoredAlert

__all__ = ["Alert", "Delivery", "Sent", "deliver_alerts", "raise_alert", "send_alerts"]

Decide = Callable[[str, AlertRule, list[StoredAlert]], list[StoredAlert]]


def send_alerts(
    params: Params,
    store: Store,
    verdict: WindowVerdict,
    now: int | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Sent:
    """Tell what a verdict calls for, and what an earlier run could not deliver. now: µs since 1970-01-01 UTC.

    An alert is in the store before anybody is told, so that it is delivered at least once whatever happens; a delivery
    that fails is in the answer, not an exception. Raises TidelineError for a channel that there is not,
    StoreUnavailable.
    """
    at = _read_clock() if now is None else now

    def decide(name: str, rule: AlertRule, earlier: list[StoredAlert]) -> list[StoredAlert]:
        return decide_on_verdict(name, rule, verdict, earlier, at)

    return _tell(params, store, verdict.task, MONITOR, decide, now, environment)


def raise_alert(
    params: Params, store: Store, alert: Alert, now: int | None = None, environment: Mapping[str, str] = os.environ
) -> Sent:
    """Tell an alert of one's own by the rules that name its status and one of its concerns; the same as `send_alerts`
    otherwise. A `recovered` goes to the rules by which something of the same source was told."""
    at = _read_clock() if now is None else now

    def decide(name: str, rule: AlertRule, earlier: list[StoredAlert]) -> list[StoredAlert]:
        is_meant = alert.status == RECOVERED or (
            alert.status in rule.statuses
            and bool(set(alert.concerns) & set(rule.concerns))
            and (not rule.subjects or bool(set(alert.subjects) & set(rule.subjects)))
        )
        return decide_on_alert(name, rule, alert, earlier, at) if is_meant else []

    return _tell(params, store, alert.task, alert.source, decide, now, environment)


def deliver_alerts(
    params: Params, store: Store, now: int | None = None, environment: Mapping[str, str] = os.environ
) -> Sent:
    """Deliver what earlier runs could not, and raise nothing."""
    return _deliver(params, store, [], now, environment)


def _tell(
    params: Params,
    store: Store,
    task: str,
    source: str,
    decide: Decide,
    now: int | None,
    environment: Mapping[str, str],
) -> Sent:
    find_channels(params.alerts)
    raised: list[StoredAlert] = []
    for name, rule in params.alerts.rules.items():
        raised += store.raise_alerts(task, source, name, rule.channels, partial(decide, name, rule))
    return _deliver(params, store, raised, now, environment)


def _deliver(
    params: Params, store: Store, raised: list[StoredAlert], now: int | None, environment: Mapping[str, str]
) -> Sent:
    settings = params.alerts
    clock = _read_clock if now is None else lambda: now
    delivered, failed = deliver_waiting(store, settings, find_channels(settings), environment, clock)
    new = tuple(read_alert(alert.alert) for alert in raised)
    return Sent(new, tuple(delivered), tuple(failed), store.count_waiting())


def _read_clock() -> int:
    return time.time_ns() // 1000
