"""A line of params.yaml as a schedule."""

from __future__ import annotations

import re
from datetime import timedelta

from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from pydantic import ValidationError

from tideline.contracts import TidelineError

_EVERY = re.compile(r"every (\d+) (second|minute|hour|day)s?")


def read_schedule(text: str, place: str) -> CronSchedule | IntervalSchedule | None:
    """Five fields of cron in UTC, `every 90 seconds`, or nothing for None. Raises TidelineError that names `place`."""
    if not text.strip():
        return None
    every = _EVERY.fullmatch(text.strip())
    if every:
        interval = timedelta(**{f"{every[2]}s": int(every[1])})
        if interval <= timedelta(0):
            raise TidelineError(f"{place} is {text!r}; expected a time above 0")
        return IntervalSchedule(interval=interval)
    try:
        return CronSchedule(cron=text.strip(), timezone="UTC")
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise TidelineError(
            f"{place} is {text!r} ({reason}); expected cron's five fields (minute hour day month weekday), e.g. "
            "'*/15 * * * *', or 'every 90 seconds', or nothing"
        ) from None
