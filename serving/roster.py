"""Who answers whom: the champion, canaries with their shares, and shadows, as one value that is swapped as a whole."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from serving.errors import Refusal
from serving.live_model import LiveModel
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


@dataclass(frozen=True, slots=True)
class Roster:
    """`canaries` with their shares of the requests, which together are at most 1."""

    champion: Served
    canaries: tuple[tuple[Served, float], ...] = ()
    shadows: tuple[Served, ...] = ()

    def choose(self, key: str | None) -> tuple[LiveModel, Role]:
        """The version for a request. A sticky key is always given the same one, as long as the shares stay.

        A canary whose share grows keeps those whom it answered.
        """
        if self.canaries:
            place = random.random() if key is None else find_place(self.champion.model.version, key)
            for served, share in self.canaries:
                if place < share:
                    return served.model, "canary"
                place -= share
        return self.champion.model, "champion"

    def find(self, version: str) -> tuple[LiveModel, Role]:
        """A version that answers, by name. Raises Refusal (404)."""
        answering: list[tuple[Served, Role]] = [(self.champion, "champion")]
        answering += [(served, "canary") for served, _ in self.canaries]
        for served, role in answering:
            if served.model.version == version:
                return served.model, role
        names = [served.model.version for served, _ in answering]
        task = self.champion.model.task
        message = f"version {version[:60]!r} is not served; of {task} there is {', '.join(names)}"
        raise Refusal(404, "version", message, names)

    def with_shares(self, shares: Mapping[str, float]) -> Roster:
        """The same with other shares, by version."""
        canaries = tuple((s, shares.get(s.model.version, share)) for s, share in self.canaries)
        return replace(self, canaries=canaries)

    @property
    def everyone(self) -> list[Served]:
        """All versions, the champion first."""
        return [self.champion, *(served for served, _ in self.canaries), *self.shadows]


def find_place(salt: str, key: str) -> float:
    """Where a key stands between 0 and 1. Another salt mixes all keys anew, so that no trial inherits another's."""
    digest = blake2b(key.encode(), digest_size=8, key=salt.encode()[:64]).digest()
    return int.from_bytes(digest, "big") / 2**64
