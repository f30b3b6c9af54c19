"""Who answers whom: the champion, canaries with their shares, and shadows, as one value that is swapped as a whole."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from serving.errors import Refusal
from serving.live_model import LiveModel
from tideline.places import Stretch, share_out
from tideline.predlog import Role


@dataclass(frozen=True, slots=True)
class Served:
    """A version that is ready to answer, and what is told about it."""

    model: LiveModel
    description: dict[str, Any]
    api_json: bytes

    @property
    def identity(self) -> tuple[str, str]:
        """Version and digest."""
        return self.model.version, self.model.bundle.digest


@dataclass(slots=True)
class Outcomes:
    """How many requests a version answered or failed in this worker, and how many it failed."""

    attempts: int = 0
    failures: int = 0

    def count(self, failed: bool = False) -> None:
        """One more."""
        self.attempts += 1
        self.failures += failed


@dataclass(frozen=True, slots=True)
class Canary:
    """A version that answers a share of the requests since a time (µs since 1970-01-01 UTC). offered: the places
    (tideline.places) that the pointer gives it, places: those that it has by its share now. own, champion: what became
    of requests since then; a version that is offered again begins anew."""

    served: Served
    share: float
    since: int
    offered: tuple[Stretch, ...] = ()
    places: tuple[Stretch, ...] = ()
    own: Outcomes = field(default_factory=Outcomes)
    champion: Outcomes = field(default_factory=Outcomes)


@dataclass(frozen=True, slots=True)
class Roster:
    """The shares of the canaries are together at most 1. seq: of the pointer that says so; 0 if none does."""

    champion: Served
    canaries: tuple[Canary, ...] = ()
    shadows: tuple[Served, ...] = ()
    seq: int = 0

    def choose(self, key: str | None) -> tuple[LiveModel, Role]:
        """The version for a request. A sticky key is always given the same one, as long as the shares stay.

        A canary whose share grows keeps those whom it answered, and takes none from another canary.
        """
        if self.canaries:
            place = random.random() if key is None else find_place(self.champion.model.version, key)
            for canary in self.canaries:
                for start, stop in canary.places:
                    if start <= place < stop:
                        return canary.served.model, "canary"
        return self.champion.model, "champion"

    def find(self, version: str) -> tuple[LiveModel, Role]:
        """A version that answers, by name. Raises Refusal (404)."""
        answering: list[tuple[Served, Role]] = [(self.champion, "champion")]
        answering += [(canary.served, "canary") for canary in self.canaries]
        for served, role in answering:
            if served.model.version == version:
                return served.model, role
        names = [served.model.version for served, _ in answering]
        task = self.champion.model.task
        message = f"version {version[:60]!r} is not served; of {task} there is {', '.join(names)}"
        raise Refusal(404, "version", message, names)

    def count(self, version: str, failed: bool = False) -> None:
        """One request that a version answered or failed; the champion's counts beside each canary."""
        if version == self.champion.model.version:
            for canary in self.canaries:
                canary.champion.count(failed)
        elif (found := self.find_canary(version)) is not None:
            found.own.count(failed)

    def find_canary(self, version: str, since: int | None = None) -> Canary | None:
        """The canary of that version, if it began at that time."""
        named = (c for c in self.canaries if c.served.model.version == version and since in (None, c.since))
        return next(named, None)

    def with_shares(self, shares: Mapping[str, float]) -> Roster:
        """The same with other shares, by version. Whoever has the same pointer and shares gives keys the same version,
        whatever the shares were before."""
        told = [shares.get(c.served.model.version, c.share) for c in self.canaries]
        places = share_out((c.offered, share) for c, share in zip(self.canaries, told, strict=True))
        changed = zip(self.canaries, told, places, strict=True)
        return replace(self, canaries=tuple(replace(c, share=share, places=own) for c, share, own in changed))

    @property
    def everyone(self) -> list[Served]:
        """All versions, the champion first."""
        return [self.champion, *(canary.served for canary in self.canaries), *self.shadows]


def find_place(salt: str, key: str) -> float:
    """Where a key stands between 0 and 1. Another salt mixes all keys anew, so that no trial inherits another's."""
    digest = blake2b(key.encode(), digest_size=8, key=salt.encode()[:64]).digest()
    return int.from_bytes(digest, "big") / 2**64
