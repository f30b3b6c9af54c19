"""Each answered prediction is in the store before its answer is here."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.real_server import RealServer
from tests.serving.small_bundle import CLASSES, ROW
from tests.wait import wait_for
from tideline.bundle import Bundle


def read_log(home: Path, ids: list[str]) -> list[dict[str, Any]]:
    """Rows of the prediction log by id."""
    with sqlite3.connect(home / "store" / "predictions.db") as connection:
        connection.row_factory = sqlite3.Row
        marks = ",".join("?" * len(ids))
        found = connection.execute(f"SELECT * FROM predictions WHERE prediction_id IN ({marks})", ids).fetchall()
    rows = {row["prediction_id"]: dict(row) for row in found}
    return [rows[name] for name in ids]


def test_an_answer_is_in_the_log_as_it_was_given(server: RealServer, regression_bundle: Bundle) -> None:
    sent = [{**ROW, "income": 1 + i} for i in range(3)]
    sent[1] = {k: v for k, v in sent[1].items() if k != "owner"}
    answer = server.predict(sent).json()
    rows = read_log(server.home, answer["prediction_ids"])
    assert [row["prediction"] for row in rows] == answer["predictions"]
    assert [json.loads(row["features"]) for row in rows] == [sent[0], {**sent[1], "owner": None}, sent[2]]
    bounds = answer["intervals"]
    for i, row in enumerate(rows):
        assert json.loads(row["intervals"]) == {level: bounds[level][i] for level in bounds}
    assert {(row["task"], row["version"], row["role"], row["route"]) for row in rows} == {
        ("toy", regression_bundle.digest[:12], "champion", "/predict")
    }
    assert {row["request_id"] for row in rows} == {answer["prediction_ids"][0]}
    assert all(row["latency"] > 0 for row in rows)


def test_the_sticky_key_is_logged(server: RealServer) -> None:
    answer = server.client.post("/predict", json={"rows": [ROW, ROW]}, headers={"x-sticky-key": "customer 7"}).json()
    assert {row["key"] for row in read_log(server.home, answer["prediction_ids"])} == {"customer 7"}
    refused = server.client.post("/predict", json={"rows": [ROW]}, headers={"x-sticky-key": "k" * 201})
    assert (refused.status_code, refused.json()["error"]["path"]) == (422, "header x-sticky-key")


def test_a_large_request_is_logged_whole(server: RealServer) -> None:
    answer = server.predict([{**ROW, "rooms": 1 + i} for i in range(500)]).json()
    rows = read_log(server.home, answer["prediction_ids"])
    assert [row["prediction"] for row in rows] == answer["predictions"]
    assert [json.loads(row["features"])["rooms"] for row in rows] == list(range(1, 501))


def test_what_is_refused_is_not_logged(server: RealServer) -> None:
    def count() -> int:
        with sqlite3.connect(server.home / "store" / "predictions.db") as connection:
            return int(connection.execute("SELECT count(*) FROM predictions").fetchone()[0])

    before = count()
    assert server.predict([ROW, {**ROW, "élan (m/s)": 1e300}]).status_code == 422
    assert server.predict([{**ROW, "income": 99}]).status_code == 422
    assert count() == before


def test_classes_are_logged_with_their_shares(classification_bundle: Bundle, tmp_path: Path) -> None:
    with RealServer(["--bundle", str(classification_bundle.path)], tmp_path) as server:
        answer = server.predict([ROW]).json()
        (row,) = read_log(tmp_path, answer["prediction_ids"])
        assert (row["prediction"], row["predicted_class"]) == (None, answer["predictions"][0])
        assert json.loads(row["probabilities"]) == answer["probabilities"][0]
        assert json.loads(row["intervals"]) == {level: sets[0] for level, sets in answer["sets"].items()}

        name = answer["prediction_ids"][0]
        labels = [{"prediction_id": name, "label": label} for label in ("nonsense", 3, CLASSES[0])]
        taken = server.client.post("/feedback", json={"labels": labels}).json()["labels"]
        assert [entry["state"] for entry in taken] == ["invalid", "invalid", "accepted"]


def test_without_the_log_there_are_no_ids_and_no_feedback(regression_bundle: Bundle, tmp_path: Path) -> None:
    with RealServer(["--bundle", str(regression_bundle.path)], tmp_path, TIDELINE_SERVING_LOG="off") as server:
        assert "prediction_ids" not in server.predict([ROW]).json()
        assert server.client.post("/feedback", json={"labels": []}).status_code == 404
        document = server.client.get("/openapi.json").json()
        assert "/feedback" not in document["paths"]
        assert "prediction_ids" not in document["components"]["schemas"]["PredictResponse"]["properties"]
        assert "predictions are NOT logged" in server.log
    assert not (tmp_path / "store").exists()


@pytest.fixture(params=["off", "on"], ids=["no journal", "journal"])
def lost_store(request: pytest.FixtureRequest, regression_bundle: Bundle, tmp_path: Path) -> Iterator[RealServer]:
    """A server whose store was taken away after a first prediction."""
    variables = {"TIDELINE_SERVING_JOURNAL": request.param, "TIDELINE_STORE_JOURNAL": str(tmp_path / "journal")}
    with RealServer(["--bundle", str(regression_bundle.path)], tmp_path, **variables) as server:
        assert server.predict([ROW]).status_code == 200
        shutil.move(tmp_path / "store", tmp_path / "elsewhere")
        yield server


def test_a_store_that_goes_and_comes_back(lost_store: RealServer, tmp_path: Path) -> None:
    server, has_journal = lost_store, "on" in lost_store.environment["TIDELINE_SERVING_JOURNAL"]
    answers = [server.predict([ROW]) for _ in range(5)]
    if has_journal:
        assert {a.status_code for a in answers} == {200}
        assert server.client.get("/readyz").status_code == 200
    else:
        assert {a.status_code for a in answers} == {503}
        assert answers[0].headers["retry-after"] == "1"
        assert "the prediction log is away" in answers[0].json()["error"]["message"]
        assert str(tmp_path) not in answers[0].text
        assert server.client.get("/readyz").status_code == 503
        assert server.predict([ROW] * 100).status_code == 503
    assert server.client.get("/livez").status_code == 200
    label = {"prediction_id": "0" * 20, "label": 1}
    assert server.client.post("/feedback", json={"labels": [label]}).status_code == 503

    shutil.move(tmp_path / "elsewhere", tmp_path / "store")
    wait_for(lambda: server.client.post("/feedback", json={"labels": [label]}).status_code == 200)
    answers.append(server.predict([ROW]))
    assert answers[-1].status_code == 200
    assert server.client.get("/readyz").status_code == 200
    ids = [a.json()["prediction_ids"][0] for a in answers if a.status_code == 200]
    assert len(ids) == (6 if has_journal else 1)
    wait_for(lambda: not list((tmp_path / "journal").glob("*.journal")))
    assert len(read_log(tmp_path, ids)) == len(ids)
    assert "Traceback" not in server.log


def test_a_bad_url_ends_the_start(regression_bundle: Bundle, tmp_path: Path) -> None:
    server = RealServer(["--bundle", str(regression_bundle.path)], tmp_path, TIDELINE_STORE_URL="mysql://u:secret@h/d")
    with pytest.raises(AssertionError, match="TIDELINE_STORE_URL") as caught, server:
        pass
    assert "secret" not in str(caught.value)
