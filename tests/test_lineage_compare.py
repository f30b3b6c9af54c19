"""What counts as the same when a version is made again: everything but the listed times."""

from __future__ import annotations

import json

from tideline.lineage.audit import compare_content
from tideline.lineage.ignored import IGNORED, clean_name


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def test_times_are_left_out_and_figures_are_not() -> None:
    path = "work/rent/train/linear/train.json"
    before = {"scores": [1.0, 2.0], "seconds": 1.5}
    assert compare_content(path, as_json(before), as_json({**before, "seconds": 9.0})) is None
    said = compare_content(path, as_json(before), as_json({**before, "scores": [1.0, 2.5]}))
    assert said == "scores[1] was 2.0, is 2.5"


def test_a_field_of_that_name_counts_in_other_files() -> None:
    before, after = as_json({"seconds": 1}), as_json({"seconds": 2})
    assert compare_content("work/rent/tune/linear/best.json", before, after) == "seconds was 1, is 2"


def test_a_manifests_code_is_announced_and_its_other_hashes_count() -> None:
    path = "models/rent/bundle/manifest.json"
    before = {
        "hashes": {"code": "a", "data": "b"},
        "created": "then",
        "metrics": {"latency_us": {"row": 1.0}, "rmse": 2},
    }
    after = {"hashes": {"code": "x", "data": "b"}, "created": "now", "metrics": {"latency_us": {"row": 3.0}, "rmse": 2}}
    assert compare_content(path, as_json(before), as_json(after)) is None
    after["hashes"] = {"code": "x", "data": "c"}
    assert compare_content(path, as_json(before), as_json(after)) == 'hashes.data was "b", is "c"'


def test_one_byte_of_a_model_counts() -> None:
    said = compare_content("work/rent/export/linear/model.onnx", b"abcd", b"abXd")
    assert said is not None and "number 3" in said


def test_pages_and_tables_are_compared_without_times() -> None:
    table = "reports/rent/plots/leaderboard.csv"
    assert compare_content(table, b"model,mean,seconds\na,1,2\n", b"model,mean,seconds\na,1,3\n") is None
    assert compare_content(table, b"model,mean,seconds\na,1,2\n", b"model,mean,seconds\na,2,2\n") is not None
    page = "reports/rent/data_docs/index.html"
    assert compare_content(page, b"<td>2.2 s</td><b>37,104</b>", b"<td>625 ms</td><b>37,104</b>") is None
    assert compare_content(page, b"<td>2.2 s</td><b>37,104</b>", b"<td>2.2 s</td><b>37,105</b>") is not None
    run = "reports/rent/data_docs/great_expectations/validations/{}/raw.html"
    assert clean_name(run.format("20261121T231507.710483Z")) == clean_name(run.format("20261121T231836.378550Z"))


def test_each_exception_has_its_reason() -> None:
    assert all(len(rule.reason) > 10 for rule in IGNORED)
