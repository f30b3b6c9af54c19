"""POST /feedback on the real server: what becomes of each label, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from prometheus_client.parser import text_string_to_metric_families
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.serving.real_server import RealServer
from tests.serving.small_bundle import ROW
from tests.serving.test_server import check
from tests.wait import wait_for
from tideline.bundle import Bundle


def label(server: RealServer, *labels: tuple[str, Any]) -> list[dict[str, Any]]:
    """What became of the labels."""
    body = {"labels": [{"prediction_id": name, "label": value} for name, value in labels]}
    answer = check(server, server.client.post("/feedback", json=body), "/feedback", "post")
    assert sum(answer["states"].values()) == len(labels)
    return list(answer["labels"])


def test_each_label_is_told_what_became_of_it(server: RealServer, regression_bundle: Bundle) -> None:
    first, second = server.predict([ROW] * 2).json()["prediction_ids"]
    told = label(server, (first, 3), (first, 3.0), (first, 4), (second, "red"), ("nobody", 1), (second, -0.5))
    assert [entry["state"] for entry in told] == [
        "accepted", "repeated", "corrected", "invalid", "unknown", "accepted",
    ]  # fmt: skip
    assert [entry["prediction_id"] for entry in told] == [first, first, first, second, "nobody", second]
    assert told[2]["reason"] == "was 3.0"
    assert "expected a number" in told[3]["reason"]
    assert told[0]["version"] == regression_bundle.digest[:12]
    assert 0 <= told[0]["lag_seconds"] < 60
    assert (told[4]["version"], told[4]["lag_seconds"]) == (None, None)
    assert label(server, (first, 4))[0]["state"] == "repeated"


NAME = "0" * 20


@pytest.mark.parametrize(
    ("content", "status", "path", "said"),
    [
        ({"labels": [{"prediction_id": NAME}]}, 422, "labels[0].label", "label is required"),
        ({"labels": [{"label": 1}]}, 422, "labels[0].prediction_id", "prediction_id is required"),
        ({"labels": [{"prediction_id": NAME, "label": None}]}, 422, "labels[0].label", "got null"),
        ({"labels": [{"prediction_id": NAME, "label": True}]}, 422, "labels[0].label", "got bool"),
        ({"labels": [{"prediction_id": 7, "label": 1}]}, 422, "labels[0].prediction_id", "Expected str, got int"),
        ({"labels": [{"prediction_id": "", "label": 1}]}, 422, "labels[0].prediction_id", "length >= 1"),
        ({"labels": [{"prediction_id": NAME, "labl": 1}]}, 422, "labels[0].labl", "did you mean 'label'?"),
        ({"labels": []}, 422, "labels", "the list is empty"),
        ({"labels": [{"prediction_id": NAME, "label": 1}] * 1001}, 422, "labels", "at most 1000"),
        ({"labels": {}}, 422, "labels", "Expected array"),
        ({"label": []}, 422, "label", "did you mean 'labels'?"),
        ({}, 422, "labels", "labels is required"),
        ([], 422, "body", "Expected object"),
        ('{"labels": [{"prediction_id": "x", "label": NaN}]}', 400, "labels[0].label", "JSON knows no NaN"),
        ("{", 400, "body", "not JSON"),
        ("x" * 200_001, 413, "body", "larger"),
    ],
)  # fmt: skip
def test_what_is_no_label_is_refused(server: RealServer, content: Any, status: int, path: str, said: str) -> None:
    body = content if isinstance(content, str) else json.dumps(content)
    response = server.client.post("/feedback", content=body, headers={"content-type": "application/json"})
    error = check(server, response, "/feedback", "post")["error"]
    assert (response.status_code, error["path"]) == (status, path)
    assert said in error["message"]


def test_labels_and_the_log_are_measured(server: RealServer) -> None:
    def read() -> dict[tuple[str, str], float]:
        families = text_string_to_metric_families(server.client.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        return {(s.name, s.labels.get("state", s.labels.get("outcome", ""))): s.value for s in samples}

    before = read()
    (name,) = server.predict([ROW]).json()["prediction_ids"]
    label(server, (name, 1), (name, 2), ("nobody", 1))

    def grown(metric: str, labels: str = "") -> float:
        return read().get((metric, labels), 0) - before.get((metric, labels), 0)

    assert [grown("tideline_labels_total", state) for state in ("accepted", "corrected", "unknown")] == [1, 1, 1]
    assert grown("tideline_label_lag_seconds_count") == 1
    # At least: what was stored just before the first look may be counted after it.
    wait_for(lambda: grown("tideline_log_records_total", "stored") >= 1)
    after = read()
    assert after["tideline_log_connected", ""] == 1
    assert after["tideline_log_pending", ""] == 0
    assert 0 < after["tideline_label_coverage", ""] <= 1


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_generated_labels_get_a_described_answer(server: RealServer, mode: GenerationMode) -> None:
    operation = schemathesis.openapi.from_url(f"{server.url}/openapi.json")["/feedback"]["POST"]

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Case) -> None:
        response = case.call()
        assert response.status_code < 500
        excluded = [positive_data_acceptance]
        if response.status_code == 413:  # schemathesis does not take it for the rejection that it is
            excluded.append(negative_data_rejection)
        case.validate_response(response, excluded_checks=excluded)

    run()
