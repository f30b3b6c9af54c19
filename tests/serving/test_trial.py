"""Canaries, shadows, automatic withdrawal and the bandit, with real servers, counting answers and rows of the log."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from serving.shadow import CAPACITY
from serving.trial import EVERY_SECONDS
from tests.serving.hammer import Hammer, worker_of
from tests.serving.real_server import RealServer
from tests.serving.small_bundle import COLUMNS, ROW, expected_value, write_small_bundle
from tests.serving.toy_registry import ToyRegistry
from tests.wait import wait_for
from tideline.bookkeeping import ledger_file
from tideline.bundle import load_bundle, write_bundle
from tideline.ledger import read_ledger
from tideline.pointer import ChallengerRole, Margins, read_pointer
from tideline.rollout import end_trial, set_share


@pytest.fixture
def server(following: RealServer) -> RealServer:
    return following


def challengers(server: RealServer) -> dict[str, dict[str, Any]]:
    return {c["version"]: c for c in server.client.get("/model").json()["challengers"]}


def wait_until_served(server: RealServer, version: str) -> None:
    wait_for(lambda: challengers(server).get(version, {}).get("is_served"))


def read_rows(registry: ToyRegistry, what: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(registry.home / "store" / "predictions.db") as connection:
        return connection.execute(what).fetchall()


def ask(server: RealServer, key: str | None = None, row: dict[str, Any] = ROW) -> dict[str, Any]:
    """One answer, over a connection of its own: any worker's."""
    headers = {"connection": "close"} if key is None else {"connection": "close", "x-sticky-key": key}
    response = server.client.post("/predict", json={"rows": [row]}, headers=headers)
    assert response.status_code == 200, response.text
    return dict(response.json())


def label(server: RealServer, *labels: tuple[str, float]) -> None:
    body = {"labels": [{"prediction_id": name, "label": value} for name, value in labels]}
    assert server.client.post("/feedback", json=body).status_code == 200


def workers_that_gave(answers: Iterable[dict[str, Any]]) -> int:
    return len({worker_of(a["prediction_ids"][0]) for a in answers})


def withdrawn(registry: ToyRegistry) -> str:
    """Why the last entry of the ledger withdrew a version."""
    entry = read_ledger(ledger_file(registry.layout)).entries[-1]
    assert entry.action == "withdrawn"
    assert len([v for v in entry.evidence["live"]["versions"] if v["version"] == entry.version]) == 1
    return entry.reasons[0]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_canary_answers_its_share_and_keeps_whom_it_has(registry: ToyRegistry, workers: int) -> None:
    with RealServer(["--task", "toy"], registry.home, TIDELINE_SERVING_WORKERS=str(workers)) as server:
        with Hammer(server.port, clients=3, fresh=True) as hammer:
            registry.challenge(1, share=0.3)
            wait_for(lambda: Counter(t.version for t in hammer.told)[registry.versions[1]] > 100)
            wait_for(lambda: len({t.worker for t in hammer.told if t.version == registry.versions[1]}) == workers)
        assert not hammer.broken and {t.status for t in hammer.told} == {200}
        keys = [f"customer {i}" for i in range(300)]
        answers = {key: ask(server, key) for key in keys}
        assert workers_that_gave(answers.values()) == workers
        given = {key: answer["model"]["version"] for key, answer in answers.items()}
        assert 0.2 < Counter(given.values())[registry.versions[1]] / len(keys) < 0.4
        assert {key: ask(server, key)["model"]["version"] for key in keys} == given
        roles = dict(read_rows(registry, "SELECT version, role FROM predictions GROUP BY version, role"))
        assert roles == {registry.versions[0]: "champion", registry.versions[1]: "canary"}
        shifts = registry.shifts
        for told in hammer.told:
            expected = [expected_value(row) + shifts[told.version] for row in told.rows]
            assert told.body["predictions"] == pytest.approx(expected, rel=1e-6)


def test_a_share_that_grows_moves_no_key_between_canaries(registry: ToyRegistry, server: RealServer) -> None:
    registry.challenge(1, share=0.2)
    registry.challenge(2, share=0.2)
    wait_until_served(server, registry.versions[2])
    keys = [f"customer {i}" for i in range(400)]

    def give() -> dict[str, str]:
        return {key: ask(server, key)["model"]["version"] for key in keys}

    champion, first, second = registry.versions
    before = give()
    for version, share in ((first, 0.4), (second, 0.5), (first, 0.1)):
        set_share(registry.layout, version, share)
        wait_for(lambda version=version, share=share: challengers(server)[version]["share"] == share)
        after = give()
        moved = {(before[key], after[key]) for key in keys if before[key] != after[key]}
        assert moved == ({(version, champion)} if share == 0.1 else {(champion, version)})
        assert Counter(after.values())[version] / len(keys) == pytest.approx(share, abs=0.08)
        before = after
    end_trial(registry.layout, first)
    wait_for(lambda: first not in challengers(server))
    assert {(before[key], version) for key, version in give().items() if version != before[key]} == {(first, champion)}


def test_a_version_is_asked_by_name_over_v2(registry: ToyRegistry, server: RealServer) -> None:
    """Champion and canary answer to their names, a shadow does not; nobody answers in another's place."""
    registry.challenge(1, share=0.01)
    registry.challenge(2, role="shadow")
    wait_until_served(server, registry.versions[2])
    inputs = [
        {"name": c.name, "shape": [1], "datatype": "BYTES" if c.kind in ("category", "date") else "FP64",
         "data": [ROW[c.name]]} for c in COLUMNS
    ]  # fmt: skip
    for number in (0, 1):
        path = f"/v2/models/toy/versions/{registry.versions[number]}"
        answer = server.client.post(f"{path}/infer", json={"inputs": inputs}).json()
        assert answer["model_version"] == registry.versions[number]
        value = next(o["data"][0] for o in answer["outputs"] if o["name"] == "prediction")
        assert value == pytest.approx(expected_value(ROW) + registry.shifts[registry.versions[number]], rel=1e-6)
        assert server.client.get(f"{path}/ready").status_code == 200
    refused = server.client.post(f"/v2/models/toy/versions/{registry.versions[2]}/infer", json={"inputs": inputs})
    assert refused.status_code == 404 and registry.versions[1] in refused.json()["error"]
    rows = "SELECT version, role, count(*) FROM predictions WHERE role <> 'shadow' GROUP BY version, role"
    assert {v: (r, n) for v, r, n in read_rows(registry, rows)} == {
        registry.versions[0]: ("champion", 1),
        registry.versions[1]: ("canary", 1),
    }
    # Whoever chose the version chose the row as well: it compares nothing.
    live = server.client.get("/versions").json()["live"]["versions"]
    assert {v["version"]: v["predictions"] for v in live} == dict.fromkeys(registry.versions, 0)


def test_a_shadow_never_answers_and_takes_the_label_of_the_answer(registry: ToyRegistry, server: RealServer) -> None:
    registry.challenge(1, role="shadow")
    wait_until_served(server, registry.versions[1])
    answers = [ask(server, "me") for _ in range(20)]
    assert {a["model"]["version"] for a in answers} == {registry.versions[0]}
    count = "SELECT count(*) FROM predictions WHERE role = 'shadow'"
    wait_for(lambda: read_rows(registry, count) == [(20,)])
    label(server, *((a["prediction_ids"][0], a["predictions"][0] + 1.0) for a in answers))
    told = read_rows(
        registry,
        "SELECT version, role, key, count(*), avg(absolute_error), count(DISTINCT request_id) "
        "FROM predictions_with_labels GROUP BY version, role, key ORDER BY role",
    )
    assert [row[:4] for row in told] == [
        (registry.versions[0], "champion", "me", 20),
        (registry.versions[1], "shadow", "me", 20),
    ]
    assert [row[4] for row in told] == pytest.approx([1.0, 999.0], abs=1e-3)
    assert told[1][5] == 20
    assert f'tideline_shadow_rows_total{{outcome="stored",version="{registry.versions[1]}"}} 20.0' in (
        server.client.get("/metrics").text
    )


def test_a_shadow_sees_a_large_request_too(registry: ToyRegistry, server: RealServer) -> None:
    registry.challenge(1, role="shadow")
    wait_until_served(server, registry.versions[1])
    assert server.predict([ROW] * (CAPACITY + 1)).status_code == 200
    wait_for(lambda: read_rows(registry, "SELECT count(*) FROM predictions WHERE role = 'shadow'") == [(CAPACITY + 1,)])


@pytest.mark.parametrize(("role", "workers"), [("canary", 1), ("canary", 2), ("shadow", 1)])
def test_a_challenger_with_a_larger_error_is_withdrawn(
    registry: ToyRegistry, role: ChallengerRole, workers: int
) -> None:
    with RealServer(["--task", "toy"], registry.home, TIDELINE_SERVING_WORKERS=str(workers)) as server:
        registry.challenge(1, role=role, share=0.5)
        wait_until_served(server, registry.versions[1])
        answers = [ask(server) for _ in range(200)]
        assert workers_that_gave(answers) == workers
        truth = expected_value(ROW)
        label(server, *((a["prediction_ids"][0], truth + (-1) ** i) for i, a in enumerate(answers)))
        wait_for(lambda: not challengers(server))
        assert re.search(r"its live error is (999|1,00)\d?\.?\d* over .* worse by more than 5%", withdrawn(registry))

        def ask_all() -> set[str]:
            """The versions that answer now, of all workers."""
            answers = [ask(server) for _ in range(30)]
            return {a["model"]["version"] for a in answers} if workers_that_gave(answers) == workers else set()

        wait_for(lambda: ask_all() == {registry.versions[0]})
        pointer = read_pointer(registry.layout)
        assert pointer is not None and pointer.challengers == ()
        assert pointer.version == registry.versions[0]
        acts = [e.action for e in read_ledger(ledger_file(registry.layout)).entries]
        assert acts == ["promoted", role, "withdrawn"]


@pytest.mark.slow
def test_a_slow_canary_is_withdrawn(registry: ToyRegistry, server: RealServer) -> None:
    registry.add(write_small_bundle(registry.home / "slow", slow=True))
    registry.challenge(3, share=0.1, margins=Margins(least=5))
    wait_until_served(server, registry.versions[3])
    wait_for(lambda: not challengers(server), seconds=60)
    assert "its live latency is" in withdrawn(registry)


def offer_narrow(registry: ToyRegistry) -> None:
    """A fourth version, which takes at most five rooms, and whose sample has no more either."""
    narrow = [replace(c, maximum=5.0) if c.name == "rooms" else c for c in COLUMNS]
    bundle = write_small_bundle(registry.home / "narrow", shift=5.0)
    manifest = replace(bundle.manifest, columns=tuple(narrow))
    write_bundle(bundle.path, bundle.read("model.onnx"), manifest, bundle.read_reference())
    registry.add(load_bundle(bundle.path))
    sample = registry.layout.registry / "parity" / f"{registry.versions[-1]}.json"
    content = json.loads(sample.read_text())
    sample.write_text(json.dumps({**content, "rows": content["rows"][:5], "answers": content["answers"][:5]}))


def test_what_a_canary_cannot_answer_the_champion_does(registry: ToyRegistry, server: RealServer) -> None:
    """The canary takes at most five rooms: it fails, nobody notices, and it is withdrawn for it."""
    offer_narrow(registry)
    registry.challenge(3, share=0.5)
    wait_until_served(server, registry.versions[3])
    answers = [ask(server, row={**ROW, "rooms": 10}) for _ in range(150)]
    assert {a["model"]["version"] for a in answers} == {registry.versions[0]}
    wait_for(lambda: not challengers(server))
    assert "it failed" in withdrawn(registry) and "the champion 0 of" in withdrawn(registry)
    counted = 'tideline_challengers_withdrawn_total{task="toy"} 1.0'
    wait_for(lambda: counted in server.client.get("/metrics").text)
    assert f'tideline_canary_failures_total{{version="{registry.versions[3]}"}}' in server.client.get("/metrics").text


def test_a_version_that_is_offered_again_begins_anew(registry: ToyRegistry, server: RealServer) -> None:
    """What it failed in an earlier trial does not count in the next: of thirty and more failures none is left."""
    offer_narrow(registry)
    never = Margins(failures=1.0, latency=100.0, error=100.0)
    registry.challenge(3, share=1.0, margins=never)
    wait_until_served(server, registry.versions[3])
    assert {ask(server, row={**ROW, "rooms": 10})["model"]["version"] for _ in range(60)} == {registry.versions[0]}
    registry.end(3)
    registry.challenge(3, share=0.5, margins=Margins(latency=100.0, error=100.0))  # before the server has looked again
    wait_until_served(server, registry.versions[3])
    answers = [ask(server, row={**ROW, "rooms": 5}) for _ in range(80)]
    assert len({a["model"]["version"] for a in answers}) == 2
    time.sleep(2 * EVERY_SECONDS)  # the trial has looked
    assert registry.versions[3] in challengers(server)
    for _ in range(80):
        ask(server, row={**ROW, "rooms": 10})
    wait_for(lambda: not challengers(server))
    assert "it failed" in withdrawn(registry)


def test_what_the_log_keeps_waiting_counts_against_nobody(registry: ToyRegistry) -> None:
    """The log is locked for longer than a request may take: all time out, and the canary goes on."""
    with RealServer(["--task", "toy"], registry.home, TIDELINE_SERVING_TIMEOUT="0.5") as server:
        registry.challenge(1, share=0.5)
        wait_until_served(server, registry.versions[1])
        ask(server)
        other = sqlite3.connect(registry.home / "store" / "predictions.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(40) as threads:
            statuses = Counter(threads.map(lambda _: server.predict([ROW]).status_code, range(200)))
        other.close()
        assert statuses[504] > 100
        time.sleep(3 * EVERY_SECONDS)  # the trial has looked
        assert challengers(server)[registry.versions[1]]["is_served"]
    assert [e.action for e in read_ledger(ledger_file(registry.layout)).entries] == ["promoted", "canary"]


def test_without_a_log_a_canary_is_judged_by_what_it_fails_and_no_shadow_runs(registry: ToyRegistry) -> None:
    offer_narrow(registry)
    with RealServer(["--task", "toy"], registry.home, TIDELINE_SERVING_LOG="off") as server:
        registry.challenge(1, role="shadow")
        registry.challenge(3, share=1.0)
        wait_until_served(server, registry.versions[3])
        assert "logs nothing" in challengers(server)[registry.versions[1]]["error"]
        answers = [ask(server, row={**ROW, "rooms": 10}) for _ in range(60)]
        assert {a["model"]["version"] for a in answers} == {registry.versions[0]}
        wait_for(lambda: registry.versions[3] not in challengers(server))
    entry = read_ledger(ledger_file(registry.layout)).entries[-1]
    assert (entry.action, entry.evidence["live"]) == ("withdrawn", {"unknown": "nothing is logged"})
    assert re.search(r"it failed \d+ of \d+ requests, the champion 0 of \d+", entry.reasons[0])


def test_a_challenger_that_fails_parity_takes_no_traffic(registry: ToyRegistry, server: RealServer) -> None:
    sample = registry.layout.registry / "parity" / f"{registry.versions[1]}.json"
    content = json.loads(sample.read_text())
    content["answers"][0] *= 1.01
    sample.write_text(json.dumps(content))
    registry.challenge(1, share=1.0)
    wait_for(lambda: challengers(server).get(registry.versions[1], {}).get("error"))
    told = challengers(server)[registry.versions[1]]
    assert not told["is_served"] and "fails parity: served, row 0 of its sample gives" in told["error"]
    assert {ask(server)["model"]["version"] for _ in range(30)} == {registry.versions[0]}
    assert read_rows(registry, "SELECT count(*) FROM predictions") == [(30,)]  # the server's questions are not logged
    content["answers"][0] /= 1.01
    sample.write_text(json.dumps(content))
    wait_until_served(server, registry.versions[1])
    assert ask(server)["model"]["version"] == registry.versions[1]


def test_nobody_else_may_ask_as_the_server_does(server: RealServer, registry: ToyRegistry) -> None:
    headers = {"x-tideline-parity": f"{'0' * 64} {registry.versions[0]}"}
    response = server.client.post("/predict", json={"rows": [ROW]}, headers=headers)
    assert response.status_code == 403 and response.json()["error"]["path"] == "header x-tideline-parity"


def test_a_champion_that_fails_parity_is_not_started(registry: ToyRegistry) -> None:
    sample = registry.layout.registry / "parity" / f"{registry.versions[0]}.json"
    content = json.loads(sample.read_text())
    content["answers"][0] *= 1.01
    sample.write_text(json.dumps(content))
    with (
        pytest.raises(AssertionError, match="fails parity: served, row 0"),
        RealServer(["--task", "toy"], registry.home, hopeless="fails parity: served, row 0"),
    ):
        pass


def test_the_bandit_gives_most_to_the_better_one(registry: ToyRegistry, server: RealServer) -> None:
    registry.challenge(1, share=0.5, router="bandit", margins=Margins(least=10**6))
    wait_until_served(server, registry.versions[1])
    truth = expected_value(ROW) + registry.shifts[registry.versions[1]]  # the canary is right
    for i in range(60):
        answer = ask(server)
        label(server, (answer["prediction_ids"][0], truth + (-1) ** i))
    wait_for(lambda: challengers(server)[registry.versions[1]]["share"] > 0.9)
    given = Counter(ask(server)["model"]["version"] for _ in range(100))
    assert given[registry.versions[1]] > 80
