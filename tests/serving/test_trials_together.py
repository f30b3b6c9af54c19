"""Several canaries at once, whose shares, routers and servers change under way, with real servers."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
import sqlalchemy as sa

from serving.trial import EVERY_SECONDS
from tests.serving.real_server import RealServer
from tests.serving.small_bundle import ROW, expected_value
from tests.serving.test_trial import ask, challengers, label, wait_until_served, withdrawn
from tests.serving.toy_registry import ToyRegistry
from tests.wait import wait_for
from tideline.pointer import Margins
from tideline.predlog import open_store, store_url
from tideline.rollout import set_router, set_share


def answer_and_label(server: RealServer, registry: ToyRegistry, requests: int, worse: str = "") -> None:
    """Every version is right to within one, except the one that is worse: it is off by fifty."""
    for i in range(requests):
        answer = ask(server)
        error = 50.0 if answer["model"]["version"] == worse else (-1.0) ** i
        label(server, (answer["prediction_ids"][0], answer["predictions"][0] + error))


def test_the_worse_of_two_is_withdrawn_over_restart_prune_and_changed_shares(registry: ToyRegistry) -> None:
    champion, worse, equal = registry.versions
    keys = [f"customer {i}" for i in range(60)]
    with RealServer(["--task", "toy"], registry.home) as server:
        registry.challenge(1, share=0.2)
        registry.challenge(2, share=0.3)
        wait_until_served(server, equal)
        answer_and_label(server, registry, 40, worse)  # too few to judge anybody
        set_share(registry.layout, worse, 0.5)
        wait_for(lambda: challengers(server)[worse]["share"] == 0.5)
        given = {key: ask(server, key)["model"]["version"] for key in keys}
        assert server.stop() == 0
    with open_store(store_url(registry.home, {})) as store:
        with store.database.transaction() as connection:
            connection.execute(sa.text("UPDATE predictions SET time = time - 7200000000"))  # two hours
        assert store.prune("toy", timedelta(hours=1)).predictions == 100
    with RealServer(["--task", "toy"], registry.home) as server:
        wait_until_served(server, equal)
        assert {key: ask(server, key)["model"]["version"] for key in keys} == given
        answer_and_label(server, registry, 400, worse)  # a fifth of them for the champion
        wait_for(lambda: worse not in challengers(server))
        assert "its live error is 50 over" in withdrawn(registry)
        answer_and_label(server, registry, 60)
        time.sleep(2 * EVERY_SECONDS)  # the trial has looked
        assert challengers(server)[equal]["share"] == 0.3
        after = {key: ask(server, key)["model"]["version"] for key in keys}
    assert {(given[key], after[key]) for key in keys if given[key] != after[key]} == {(worse, champion)}


def test_a_bandit_that_is_switched_off_has_no_say_any_more(registry: ToyRegistry) -> None:
    canary = registry.versions[1]
    truth = expected_value(ROW) + registry.shifts[canary]
    with RealServer(["--task", "toy"], registry.home) as server:
        registry.challenge(1, share=0.2, router="bandit", margins=Margins(least=10**6))
        wait_until_served(server, canary)
        for i in range(40):
            label(server, (ask(server)["prediction_ids"][0], truth + (-1) ** i))
        wait_for(lambda: challengers(server)[canary]["share"] > 0.9)
        set_router(registry.layout, "split")
        wait_for(lambda: challengers(server)[canary]["share"] == 0.2)
        end = time.monotonic() + 2 * EVERY_SECONDS
        while time.monotonic() < end:
            assert challengers(server)[canary]["share"] == pytest.approx(0.2)
            time.sleep(0.1)
        assert server.client.get("/model").json()["router"] == "split"
