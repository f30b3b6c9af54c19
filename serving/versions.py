"""The version that is served now, and how it follows the registry's pointer without a restart.

A request takes `current` once and is answered by it wholly. A new version is loaded, verified and warmed beside the old
one, in another thread; then one assignment puts it in its place. The old one lives until its last request is answered.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from serving.champion import Champion
from serving.metrics import VersionMeter
from serving.openapi import describe_api
from serving.settings import Settings
from serving.source import find_pointer, open_bundle, read_version

RETRY_SECONDS = 5.0  # a version that did not load is tried again: its files may have been mended

logger = logging.getLogger("bentoml.tideline")


@dataclass(frozen=True, slots=True)
class Served:
    """A version that is ready to answer, and what is told about it."""

    champion: Champion
    description: dict[str, Any]
    api_json: bytes


@dataclass(frozen=True, slots=True)
class PendingError:
    """Why the pointer's version is not served. `version` is empty if the pointer itself cannot be read."""

    version: str
    error: str
    since: str


class Versions:
    """Loads the first version at once. Raises TidelineError if there is none or it is broken."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pointer = find_pointer(settings)
        if self._pointer is not None:
            self._pointer.has_changed()  # before it is read: a later change is seen
        self._meter = VersionMeter()
        self._retry_at = 0.0
        self.pending_error: PendingError | None = None
        self.current = self._load()

    def describe(self) -> dict[str, Any]:
        """What GET /model answers."""
        pending = self.pending_error
        return {**self.current.description, "pending_error": None if pending is None else asdict(pending)}

    def follow(self) -> None:
        """Serve what the pointer names, if it has moved. Whatever is wrong with that, the old version goes on."""
        if self._pointer is None:
            return
        is_due = self.pending_error is not None and time.monotonic() >= self._retry_at
        if not self._pointer.has_changed() and not is_due:
            return
        try:
            self.current = self._load()
        except Exception as error:  # a bundle can be broken in ways that only its libraries know
            self._note_failure(error)
        else:
            self.pending_error = None

    def _load(self) -> Served:
        bundle, version = open_bundle(self._settings)
        before: Served | None = getattr(self, "current", None)
        if before and (before.champion.version, before.champion.bundle.digest) == (version, bundle.digest):
            return before
        champion = Champion(bundle, version, self._settings.max_rows)
        served = Served(champion, champion.describe(), msgspec.json.encode(describe_api(champion, self._settings)))
        self._meter.switch(before.champion.model if before else None, champion.model)
        if before:
            logger.info("%s: %s instead of %s", champion.task, version, before.champion.version)
        return served

    def _note_failure(self, error: Exception) -> None:
        self._meter.fail(self.current.champion.task)
        self._retry_at = time.monotonic() + RETRY_SECONDS
        version = read_version(self._settings)
        # Anybody may read it: where things lie on this machine is for the log alone.
        told = (str(error) or type(error).__name__).replace(f"{self._settings.home}/", "")
        if self.pending_error is None or (self.pending_error.version, self.pending_error.error) != (version, told):
            kept = self.current.champion.version
            logger.error("%s is not served, %s goes on: %s", version or "the registry's pointer", kept, error)
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self.pending_error = PendingError(version, told, now)
