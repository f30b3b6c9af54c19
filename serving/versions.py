"""The versions that are served now, and how they follow the registry's pointer without a restart.

A request takes `current` once and is answered by one of its versions wholly. A new version is loaded, verified and
warmed beside the others, in another thread, and answers a sample of the holdout over HTTP; then one assignment puts it
in its place. An old one lives until its last request is answered.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec

from serving.live_model import LiveModel
from serving.metrics import VersionMeter
from serving.openapi import describe_api
from serving.parity_check import NotReached, ParityCheck, find_token
from serving.roster import Canary, Roster, Served
from serving.settings import Settings
from serving.source import find_layout, has_registry, open_bundle, open_version, read_state, watch_ledger, watch_pointer
from tideline.bundle import Bundle
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.live_parity import parity_file
from tideline.pointer import Pointer, read_pointer

RETRY_SECONDS = 5.0  # a version that did not load is tried again: its files may have been mended

logger = logging.getLogger("bentoml.tideline")


@dataclass(frozen=True, slots=True)
class PendingError:
    """Why a version of the pointer is not served. `version` is empty if the pointer itself cannot be read."""

    version: str
    error: str
    since: str


class Versions:
    """Loads the champion at once. Raises TidelineError if there is none, it is broken, or it fails parity."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self.token = settings, find_token(settings)
        self._check = ParityCheck(settings, self.token)
        self.layout = find_layout(settings) if has_registry(settings) else None
        self._watches = (watch_pointer(self.layout), watch_ledger(self.layout)) if self.layout else ()
        self._meter = VersionMeter()
        self._retry_at: float | None = 0.0  # challengers are loaded once the server can be asked
        self._blocked: PendingError | None = None
        self._refused: dict[str, PendingError] = {}
        self._candidate: Served | None = None
        self._lock = threading.Lock()  # two threads change `current`: one follows the registry, one judges the trial
        self.pointer: Pointer | None = None
        champion = self._load(*open_bundle(settings))
        if self.layout is not None and self._has_sample(champion):
            self._check.check_inside(self.layout, champion.model)
        self.current = Roster(champion)
        self._meter.switch(None, champion.model.byline)

    def describe(self) -> dict[str, Any]:
        """What GET /model answers: the champion, and who is beside it."""
        roster, pointer = self.current, self.pointer
        shares = {c.served.model.version: c.share for c in roster.canaries}
        served = {s.model.version for s in roster.everyone}
        challengers = [
            {
                "version": c.version,
                "role": c.role,
                "share": shares.get(c.version, c.share),
                "is_served": c.version in served,
                "error": self._refused[c.version].error if c.version in self._refused else None,
            }
            for c in (pointer.challengers if pointer else ())
        ]
        blocked = None if self._blocked is None else asdict(self._blocked)
        told = {"pending_error": blocked, "challengers": challengers, "router": pointer.router if pointer else "split"}
        return {**roster.champion.description, **told}

    def find(self, version: str) -> LiveModel | None:
        """A version that is loaded, whether it takes traffic or not."""
        known = [*self.current.everyone, *([self._candidate] if self._candidate else [])]
        return next((served.model for served in known if served.model.version == version), None)

    def set_shares(self, shares: Mapping[str, float], seq: int) -> None:
        """Share requests among champion and canaries by version, until the pointer is moved again.

        seq: of the pointer that they were found for; if another one is followed by now, nothing happens.
        """
        with self._lock:
            if self.current.seq == seq:
                self.current = self.current.with_shares(shares)

    def follow(self) -> None:
        """Serve what the pointer names, if it or the ledger has changed. Whatever is wrong, the old versions go on."""
        if self.layout is None:
            return
        is_due = self._retry_at is not None and time.monotonic() >= self._retry_at
        has_changed = [watch.has_changed() for watch in self._watches]
        if not any(has_changed) and not is_due:
            return
        self._retry_at = None
        kept = f"{self.current.champion.model.version} goes on"
        try:
            pointer = read_state(self.layout)
        except Exception as error:  # a file can be broken in ways that only its reader knows
            self._blocked = self._note(_read_named(self.layout), error, kept, self._blocked)
            return
        self.pointer = pointer
        self._refused = {v: e for v, e in self._refused.items() if pointer.find(v)}
        try:
            champion = self._take(pointer.version, pointer.digest, may_lack_sample=True)
        except Exception as error:  # a bundle can be broken in ways that only its libraries know
            self._blocked = self._note(pointer.version, error, kept, self._blocked)
            with self._lock:
                self.current = Roster(self.current.champion)  # the challengers do not challenge this one
            return
        self._blocked = None
        canaries, shadows = [], []
        for c in pointer.challengers:
            try:
                if c.role == "shadow" and not self._settings.log:
                    raise TidelineError("this server logs nothing, so nobody would see what a shadow predicts")
                served = self._take(c.version, c.digest)
            except Exception as error:
                known = self._refused.get(c.version)
                self._refused[c.version] = self._note(c.version, error, "it takes no traffic", known)
            else:
                self._refused.pop(c.version, None)
                if c.role == "canary":
                    there = self.current.find_canary(c.version, c.since)
                    if there is None or there.served is not served:
                        there = Canary(served, c.share, c.since, c.places)
                    # A version is tried again: what the bandit gave the others stays.
                    is_same = self.current.seq == pointer.seq
                    canaries.append(there if is_same else replace(there, share=c.share, offered=c.places))
                else:
                    shadows.append(served)
        self._switch(Roster(champion, tuple(canaries), tuple(shadows), pointer.seq).with_shares({}))

    def _take(self, version: str, digest: str, may_lack_sample: bool = False) -> Served:
        """The version if it is served already; else it is loaded and asked over HTTP. Raises whatever is wrong."""
        for served in self.current.everyone:
            if served.identity == (version, digest):
                return served
        assert self.layout is not None
        served = self._load(open_version(self.layout, version, digest), version, beside=True)
        self._candidate = served
        try:
            if not may_lack_sample or self._has_sample(served):
                self._check.check(self.layout, served.model)
        finally:
            self._candidate = None
        return served

    def _load(self, bundle: Bundle, version: str, beside: bool = False) -> Served:
        champion = LiveModel(bundle, version, self._settings.max_rows, beside)
        return Served(champion, champion.describe(), msgspec.json.encode(describe_api(champion, self._settings)))

    def _has_sample(self, served: Served) -> bool:
        assert self.layout is not None
        there = parity_file(self.layout, served.model.version).exists()
        if not there:  # promoted by a tideline that kept none
            logger.warning("%s has no parity sample: it was not compared with offline", served.model.version)
        return there

    def _switch(self, roster: Roster) -> None:
        with self._lock:
            before, self.current = self.current, roster
        old, new = before.champion.model, roster.champion.model
        if before.champion is not roster.champion:
            self._meter.switch(old.byline, new.byline)
            logger.info("%s: %s instead of %s", new.task, new.version, old.version)
        beside = [s.model.version for s in roster.everyone[1:] if s not in before.everyone]
        if beside:
            logger.info("%s: %s beside %s", new.task, ", ".join(beside), new.version)

    def _note(self, version: str, error: Exception, otherwise: str, known: PendingError | None) -> PendingError:
        self._meter.fail(self.current.champion.model.task)
        now = time.monotonic()
        due = now if isinstance(error, NotReached) else now + RETRY_SECONDS
        self._retry_at = due if self._retry_at is None else min(self._retry_at, due)
        # Anybody may read it: where things lie on this machine is for the log alone.
        told = (str(error) or type(error).__name__).replace(f"{self._settings.home}/", "")
        if known is not None and (known.version, known.error) == (version, told):
            return known
        logger.error("%s is not served, %s: %s", version or "the registry's pointer", otherwise, error)
        return PendingError(version, told, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))


def _read_named(layout: Layout) -> str:
    try:
        pointer = read_pointer(layout)
    except (TidelineError, OSError):
        return ""
    return pointer.version if pointer else ""
