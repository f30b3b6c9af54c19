"""Hands alerts to their channels: with patience, with a bound, and with a record of what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from tideline import catalog
from tideline.alert import Alert, DeliveryFailed, read_alert
from tideline.alerts.records import Delivery
from tideline.params import Alerts
from tideline.predlog import Store

SPARE_SECONDS = 10.0  # for what a delivery takes beside its time-outs, before another process takes it over


def find_channels(settings: Alerts) -> list[str]:
    """The channels that any rule names. Raises TidelineError for one that there is not."""
    found = dict.fromkeys(name for rule in settings.rules.values() for name in rule.channels)
    return [catalog.get_channel(name).name for name in found]


def deliver_waiting(
    store: Store, settings: Alerts, channels: Iterable[str], environment: Mapping[str, str], clock: Callable[[], int]
) -> tuple[list[Delivery], list[Delivery]]:
    """Deliver what waits for `channels`, the oldest first: what was delivered, and what failed.

    A channel that fails is not tried again in this run, so that a run ends, and nothing overtakes. clock: µs since
    1970-01-01 UTC. Raises StoreUnavailable; what was just told is then told again by a later run.
    """
    open_channels = list(channels)
    lease = round((find_longest(settings) + SPARE_SECONDS) * 1e6)
    delivered: list[Delivery] = []
    failed: list[Delivery] = []
    while open_channels:
        now = clock()
        claim = store.claim_delivery(open_channels, now, now + lease)
        if claim is None:
            break
        alert = read_alert(claim.alert)
        try:
            deliver(claim.channel, alert, settings, environment)
        except DeliveryFailed as error:
            store.settle_delivery(claim, None, str(error))
            failed.append(Delivery(claim.channel, alert, str(error)))
            open_channels.remove(claim.channel)
        else:
            store.settle_delivery(claim, clock())
            delivered.append(Delivery(claim.channel, alert))
    return delivered, failed


def deliver(channel: str, alert: Alert, settings: Alerts, environment: Mapping[str, str]) -> None:
    """Send one alert, trying again while that may help. Raises DeliveryFailed."""
    spec = catalog.get_channel(channel)
    address = environment.get(spec.variable, "").strip() if spec.variable else ""
    if spec.variable and not address:
        raise DeliveryFailed(
            f"the channel {channel} is asked for in params.yaml (alerts), and {spec.variable} is not set; set it to "
            f"the webhook's address, or take {channel} out of the rules",
            passing=False,
        )
    pause = settings.wait_seconds
    for attempt in range(1, settings.attempts + 1):
        try:
            spec.send(alert, address, settings.timeout_seconds)
            return
        except DeliveryFailed as error:
            if not error.passing or attempt == settings.attempts:
                tried = f" (tried {attempt} times)" if attempt > 1 else ""
                raise DeliveryFailed(f"{error}{tried}", error.passing) from error
        time.sleep(pause)
        pause *= 2


def find_longest(settings: Alerts) -> float:
    """Seconds that one delivery takes at most."""
    pauses = settings.wait_seconds * sum(2.0**i for i in range(settings.attempts - 1))
    return settings.attempts * settings.timeout_seconds + pauses
