"""Shares that a bandit found take effect only for the pointer that they were found for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from serving.settings import Settings
from serving.versions import Versions
from tests.serving.real_server import RealServer
from tests.serving.toy_registry import ToyRegistry
from tests.wait import wait_for
from tideline.rollout import set_router

TOKEN = "7" * 64


@dataclass
class Followed:
    """Versions in this process, which asks a real server about parity, and acts on the registry."""

    registry: ToyRegistry
    versions: Versions

    def follow(self) -> None:
        """Until the pointer's challengers are served."""

        def is_done() -> bool:
            self.versions.follow()
            pointer = self.versions.pointer
            return pointer is not None and len(self.versions.current.canaries) == len(pointer.challengers)

        wait_for(is_done)

    @property
    def shares(self) -> dict[str, float]:
        """What is given to each canary now."""
        return {c.served.model.version: c.share for c in self.versions.current.canaries}


@pytest.fixture
def followed(registry: ToyRegistry) -> Iterator[Followed]:
    with RealServer(["--task", "toy"], registry.home, TIDELINE_SERVING_PARITY_TOKEN=TOKEN) as server:
        yield Followed(
            registry, Versions(Settings(task="toy", home=registry.home, port=server.port, parity_token=TOKEN))
        )


def test_stale_shares_change_nothing(followed: Followed) -> None:
    registry, versions = followed.registry, followed.versions
    registry.challenge(1, share=0.3, router="bandit")
    followed.follow()
    seq = versions.current.seq
    versions.set_shares({registry.versions[0]: 0.1, registry.versions[1]: 0.9}, seq)
    assert followed.shares == {registry.versions[1]: 0.9}
    set_router(registry.layout, "split")  # while the bandit computes
    followed.follow()
    versions.set_shares({registry.versions[0]: 0.2, registry.versions[1]: 0.8}, seq)
    assert followed.shares == {registry.versions[1]: 0.3}

    # A champion is never brought back by shares of the one before.
    stop = threading.Event()

    def share() -> None:
        while not stop.is_set():
            versions.set_shares({registry.versions[1]: 0.5}, versions.current.seq)

    thread = threading.Thread(target=share)
    thread.start()
    try:
        for number in (2, 0, 2, 0):
            registry.point_to(number)
            followed.follow()
            assert versions.current.champion.model.version == registry.versions[number]
    finally:
        stop.set()
        thread.join()
    assert versions.current.champion.model.version == registry.versions[0] and not followed.shares
