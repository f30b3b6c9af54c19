"""POST /explain on real servers: what an additive model must answer, classes, refusals, what goes on meanwhile."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serving.real_server import RealServer
from tests.serving.small_bundle import CLASSES, ROW, WEIGHTS, expected_value
from tests.serving.test_server import check
from tideline.bundle import Bundle

# The small bundle's sample, and thereby its background, is ROW alone.
OTHER = {**ROW, "income": 5.5, "bed rooms": None, "built": "1991-05-17", "sea": "inland", "owner": None}
HEAVY = {"rows": [OTHER] * 16, "samples": 10_000}


@pytest.fixture(scope="module")
def classifier(classification_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    home: Path = tmp_path_factory.mktemp("classes")
    with RealServer(
        ["--bundle", str(classification_bundle.path)], home, TIDELINE_SERVING_MAX_EXPLAIN_ROWS="2"
    ) as running:
        yield running


def ask(server: RealServer, **body: Any) -> httpx.Response:
    return server.client.post("/explain", json=body)


def test_an_additive_model_gives_each_column_what_it_added(server: RealServer) -> None:
    answer = check(server, ask(server, rows=[OTHER, ROW], samples=50), "/explain", "post")
    assert (answer["unit"], answer["samples"], answer["seed"]) == ("USD", 50, 0)
    first, second = answer["explanations"]
    added = {
        "income": 2 * WEIGHTS["income"],
        "rooms": 0.0,
        "bed rooms": (4 - 2) * WEIGHTS["bed rooms"],
        "élan (m/s)": 0.0,
        "built": 365 * WEIGHTS["built"],
        "sea": 10.0 - 20.0,
        "owner": -7.0,
    }
    assert first["attributions"] == pytest.approx(added, abs=1e-3)  # the graph answers float32
    assert max(first["errors"].values()) < 1e-4
    assert (first["base"], first["base_error"], first["background_rows"]) == (
        pytest.approx(expected_value(ROW)),
        0,
        1,
    )
    assert first["prediction"] == pytest.approx(expected_value(OTHER))
    assert first["prediction"] == server.predict([OTHER]).json()["predictions"][0]
    assert first["base"] + sum(first["attributions"].values()) == pytest.approx(first["prediction"], rel=1e-12)
    assert abs(first["gap"]) < 1e-9
    assert set(second["attributions"].values()) == {0.0}  # the background's own row


def test_the_same_request_gets_the_same_answer(server: RealServer) -> None:
    answers = [ask(server, rows=[OTHER], samples=30, seed=seed).content for seed in (5, 5)]
    assert answers[0] == answers[1]


def test_a_class_is_explained_by_its_probability(classifier: RealServer) -> None:
    predicted = classifier.predict([OTHER]).json()
    likeliest, shares = predicted["predictions"][0], predicted["probabilities"][0]
    found = {}
    for name in (None, *CLASSES):
        answer = check(
            classifier, ask(classifier, rows=[OTHER], **({"class": name} if name else {})), "/explain", "post"
        )
        (found[name],) = answer["explanations"]
        assert answer["unit"] == "probability"
        assert found[name]["class"] == (name or likeliest)
        assert found[name]["prediction"] == pytest.approx(shares[name or likeliest], abs=1e-6)
        total = found[name]["base"] + sum(found[name]["attributions"].values())
        assert total == pytest.approx(found[name]["prediction"], abs=1e-12)
    assert found[None] == found[likeliest]
    for column in OTHER:  # probabilities sum to one, so what one class gains the others lose
        gains = [found[name]["attributions"][column] for name in CLASSES]
        errors = [found[name]["errors"][column] for name in CLASSES]
        assert sum(gains) == pytest.approx(0.0, abs=1e-6 + 4 * sum(errors))
    assert np.abs([*found[likeliest]["attributions"].values()]).max() > 0.001


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"rows": [ROW] * 17}, "rows", "at most 16"),
        ({"rows": []}, "rows", "at least one row"),
        ({"rows": [{**ROW, "income": 99}]}, "rows[0].income", "from 0.5 to 15, got 99"),
        ({"rows": [{**ROW, "incom": 1}]}, "rows[0].incom", "did you mean 'income'?"),
        ({"samples": 23}, "samples", "from 24 to 10000"),
        ({"samples": 10_001}, "samples", "from 24 to 10000"),
        ({"samples": 50.5}, "samples", "whole number"),
        ({"seed": -1}, "seed", "from 0 to 4294967295"),
        ({"class": "low"}, "class", "it has no classes"),
        ({"class": 3}, "class", "expected the name of a class"),
        ({"sample": 100}, "sample", "did you mean 'samples'?"),
    ],
)
def test_what_cannot_be_explained_is_refused(server: RealServer, change: dict[str, Any], path: str, said: str) -> None:
    response = ask(server, **{"rows": [ROW], **change})
    error = check(server, response, "/explain", "post")["error"]
    assert (response.status_code, error["path"]) == (422, path)
    assert said in error["message"]


def test_classes_and_limits_are_the_servers_own(classifier: RealServer) -> None:
    error = ask(classifier, rows=[ROW], **{"class": "midle"}).json()["error"]
    assert error == {
        "path": "class",
        "message": "unknown class 'midle'; did you mean 'middle'?",
        "expected": list(CLASSES),
    }
    assert ask(classifier, rows=[ROW] * 3).json()["error"]["path"] == "rows"
    assert (
        classifier.client.post("/explain", content=b"{", headers={"content-type": "application/json"}).status_code
        == 400
    )
    assert classifier.client.get("/explain").status_code == 405


def test_a_row_without_a_finite_answer_is_named(server: RealServer) -> None:
    response = ask(server, rows=[ROW, {**ROW, "élan (m/s)": 1e300}])
    assert (response.status_code, response.json()["error"]["path"]) == (422, "rows[1]")


def test_predictions_go_on_while_an_explanation_runs_and_one_that_is_late_is_given_up(server: RealServer) -> None:
    late: list[httpx.Response] = []
    heavy = threading.Thread(target=lambda: late.append(httpx.post(f"{server.url}/explain", json=HEAVY, timeout=30)))
    heavy.start()
    time.sleep(0.2)
    seconds = []
    while heavy.is_alive() and len(seconds) < 1_000:
        start = time.perf_counter()
        assert server.predict([ROW]).status_code == 200
        assert server.client.get("/livez").status_code == 200
        seconds.append(time.perf_counter() - start)
    heavy.join()
    assert len(seconds) > 20
    assert np.median(seconds) < 0.1
    assert max(seconds) < 1.5
    assert late[0].status_code == 503  # the fixture's timeout of 2.5 s is too short for that
    assert "fewer rows or samples" in late[0].json()["error"]["message"]
    assert ask(server, rows=[ROW], samples=24).status_code == 200


def test_those_who_left_are_not_explained_and_too_many_are_told_to_wait(server: RealServer) -> None:
    body = json.dumps(HEAVY).encode()
    lines = ("POST /explain HTTP/1.1", "Host: localhost", "Content-Type: application/json")
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4)]
    for client in clients:
        client.sendall(head.encode() + body)
    time.sleep(0.3)
    refused = ask(server, rows=[ROW], samples=24)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    for client in clients:
        client.close()
    time.sleep(0.3)
    start = time.monotonic()
    assert ask(server, rows=[ROW], samples=24).status_code == 200
    assert time.monotonic() - start < 1.5


def test_it_is_counted_by_its_route_and_not_logged(server: RealServer) -> None:
    def read(name: str) -> float:
        lines = server.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    answered, rows = 'tideline_requests_total{route="/explain",status="200"}', "tideline_predicted_rows_total"
    before = read(answered), read(rows)
    assert ask(server, rows=[ROW], samples=24).status_code == 200
    assert (read(answered), read(rows)) == (before[0] + 1, before[1])
