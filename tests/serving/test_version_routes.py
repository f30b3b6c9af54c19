"""GET /versions and the acts on them, over HTTP, with keys."""

from __future__ import annotations

import os
import sqlite3
from typing import Any

import httpx
import jsonschema
import pytest

from tests.serving.real_server import RealServer
from tests.serving.small_bundle import ROW, expected_value
from tests.serving.toy_registry import ToyRegistry
from tests.wait import wait_for
from tideline.bookkeeping import ledger_file
from tideline.file_lock import hold_lock
from tideline.keys import add_key
from tideline.ledger import read_ledger
from tideline.live_report import describe_live
from tideline.pointer import Margins


@pytest.fixture
def server(following: RealServer) -> RealServer:
    return following


def act(server: RealServer, name: str, key: str = "", **body: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return server.client.post(f"/versions/{name}", json=body, headers=headers)


def read(server: RealServer) -> dict[str, Any]:
    document = server.client.get("/openapi.json").json()
    told = dict(server.client.get("/versions").json())
    schema = {**document["components"]["schemas"]["Versions"], "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(told)
    return told


def test_an_admin_shares_promotes_ends_and_rolls_back(registry: ToyRegistry, server: RealServer) -> None:
    names = registry.versions
    assert act(server, "promote", version="v0002").status_code == 401  # never without a key, over the loopback neither
    key = add_key(registry.home / "store" / "keys.json", "ann", ["admin"])
    other = add_key(registry.home / "store" / "keys.json", "shop", ["predict"])
    registry.challenge(1, share=0.1)
    registry.challenge(2, role="shadow")
    wait_for(lambda: [c["is_served"] for c in read(server)["challengers"]] == [True, True])
    refused = act(server, "promote", other, version=names[1])
    assert (refused.status_code, refused.json()["error"]["message"]) == (403, "this key is not for admin")
    shadow = act(server, "promote", key, version=names[2])
    assert shadow.status_code == 409 and "did not pass the gate" in shadow.json()["error"]["message"]
    assert str(registry.home) not in shadow.text

    assert act(server, "share", key, version="v0002", share=0.4).json()["action"] == "canary"
    wait_for(lambda: {c["version"]: c["share"] for c in read(server)["challengers"]}[names[1]] == 0.4)
    assert act(server, "end", key, version=names[2], reason="seen enough").json()["action"] == "ended"
    assert act(server, "promote", key, version=names[1]).json() == {
        "action": "promoted", "version": names[1], "reasons": [],
    }  # fmt: skip
    wait_for(lambda: server.client.get("/model").json()["version"] == names[1])
    assert act(server, "rollback", key, version=names[0]).json()["action"] == "rolled back"
    wait_for(lambda: read(server)["champion"] == names[0])
    told = read(server)
    assert [v["version"] for v in told["versions"]] == names[::-1]
    assert [(v["role"], v["was_champion"]) for v in told["versions"]] == [
        (None, False), (None, False), ("champion", True),
    ]  # fmt: skip
    acts = [(e.action, e.evidence.get("by")) for e in read_ledger(ledger_file(registry.layout)).entries[-4:]]
    assert acts == [("canary", "ann"), ("ended", "ann"), ("promoted", "ann"), ("rolled back", "ann")]


@pytest.mark.parametrize(
    ("name", "body", "status", "path"),
    [
        ("promote", {}, 422, "body"),
        ("promote", {"version": 7}, 422, "version"),
        ("promote", {"version": "v0002", "share": 0.5}, 422, "body"),
        ("share", {"version": "v0002", "share": 1.5}, 422, "share"),
        ("promote", {"version": "v9"}, 409, "version"),
        ("end", {"version": "v0002"}, 409, "version"),
    ],
)
def test_what_is_wrong_is_said(
    registry: ToyRegistry, server: RealServer, name: str, body: dict[str, Any], status: int, path: str
) -> None:
    key = add_key(registry.home / "store" / "keys.json", "ann", ["admin"])
    wait_for(lambda: server.client.get("/model") and act(server, name, key, **body).status_code != 401)
    answer = act(server, name, key, **body)
    assert (answer.status_code, answer.json()["error"]["path"]) == (status, path)
    assert len(read_ledger(ledger_file(registry.layout)).entries) == 1


def test_an_act_that_finds_another_at_work_is_refused_and_does_not_happen_later(
    registry: ToyRegistry, server: RealServer
) -> None:
    registry.point_to(1)
    key = add_key(registry.home / "store" / "keys.json", "ann", ["admin"])
    wait_for(lambda: act(server, "end", key, version="v0009").status_code == 409)
    before = ledger_file(registry.layout).read_bytes()
    with hold_lock(registry.layout.registry / ".lock"):
        answer = act(server, "rollback", key, version=registry.versions[0])
        assert (answer.status_code, answer.headers["retry-after"]) == (409, "3")
        assert f"process {os.getpid()} changes the registry now" in answer.json()["error"]["message"]
    assert ledger_file(registry.layout).read_bytes() == before
    assert act(server, "rollback", key, version=registry.versions[0]).status_code == 200


def test_the_report_compares_by_labels(registry: ToyRegistry, server: RealServer) -> None:
    registry.challenge(1, role="shadow")
    wait_for(lambda: [c["is_served"] for c in read(server)["challengers"]] == [True])
    for i in range(10):
        answer = server.predict([ROW]).json()
        label = {"prediction_id": answer["prediction_ids"][0], "label": answer["predictions"][0] + (-1) ** i}
        server.client.post("/feedback", json={"labels": [label]})

    def live() -> dict[str, Any]:
        return {v["role"]: v for v in read(server)["live"]["versions"]}

    wait_for(lambda: live()["shadow"]["labelled"] == 10)
    told = live()
    assert told["champion"]["mae"]["value"] == pytest.approx(1.0)
    assert told["shadow"]["mae"]["value"] == pytest.approx(1000.0)
    text = describe_live(registry.layout)
    assert f"{registry.versions[0]}  champion: 10 predictions, 10 labelled" in text
    assert f"{registry.versions[1]}  shadow: 10 predictions, 10 labelled" in text
    assert "mae         1,000" in text


def test_the_report_on_a_bandit_tells_what_it_has_lost(registry: ToyRegistry, server: RealServer) -> None:
    registry.challenge(1, router="bandit", margins=Margins(least=10**6))
    wait_for(lambda: [c["is_served"] for c in read(server)["challengers"]] == [True])
    answers = [server.predict([ROW]).json() for _ in range(40)]  # of both, as nothing is known of either
    truth = expected_value(ROW) + 1.0
    labels = [{"prediction_id": answer["prediction_ids"][0], "label": truth} for answer in answers]
    assert server.client.post("/feedback", json={"labels": labels}).json()["states"] == {"accepted": 40}
    wait_for(lambda: sum(v["labelled"] for v in read(server)["live"]["versions"]) == 40)
    told = read(server)["live"]
    canary = next(v for v in told["versions"] if v["role"] == "canary")
    assert told["router"] == "bandit" and canary["predictions"] > 0
    assert told["regret"] == pytest.approx((999.0 - 1.0) * canary["predictions"], rel=1e-4)
    assert f"regret so far: {told['regret']:,.6g} (loss above that of the version" in describe_live(registry.layout)


def test_one_absurd_label_breaks_no_judgement(registry: ToyRegistry, server: RealServer) -> None:
    """Sent now it is refused; in the store from earlier it counts for nothing."""
    registry.challenge(1, router="bandit", margins=Margins(least=2))
    wait_for(lambda: [c["is_served"] for c in read(server)["challengers"]] == [True])
    answers = [server.predict([ROW]).json() for _ in range(40)]
    labels = [{"prediction_id": a["prediction_ids"][0], "label": a["predictions"][0] + 1.0} for a in answers]
    assert server.client.post("/feedback", json={"labels": labels}).json()["states"] == {"accepted": 40}
    absurd = {"prediction_id": answers[0]["prediction_ids"][0], "label": 1e160}
    assert server.client.post("/feedback", json={"labels": [absurd]}).json()["states"] == {"invalid": 1}
    with sqlite3.connect(registry.home / "store" / "predictions.db") as connection:
        newest = "(SELECT max(label_id) FROM labels)"
        connection.execute(f"UPDATE labels SET label = 1e160 WHERE label_id = {newest}")
    wait_for(lambda: sum(v["labelled"] for v in read(server)["live"]["versions"]) == 39)
    assert [c["version"] for c in read(server)["challengers"]] == [registry.versions[1]]
    assert describe_live(registry.layout).count("  mae  ") == 2
    assert "Traceback" not in server.log


def test_a_server_without_a_registry_has_no_versions(server: RealServer) -> None:
    with RealServer(["--bundle", str(server.home / "bundle1")], server.home / "other") as alone:
        assert alone.client.get("/versions").status_code == 404
        assert "/versions" not in alone.client.get("/openapi.json").json()["paths"]
