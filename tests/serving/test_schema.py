"""The decoder: what it lets through, what it refuses, and how it says why."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from serving.errors import Refusal
from serving.schema import RowDecoder
from tests.serving.small_bundle import COLUMNS, ROW
from tideline.contracts import Column

DECODER = RowDecoder(COLUMNS, max_rows=5)


def refuse(body: Any, decoder: RowDecoder = DECODER) -> Refusal:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Refusal) as caught:
        decoder.decode(content)
    json.loads(caught.value.to_json())
    return caught.value


def test_rows_become_columns() -> None:
    second = {**ROW, "bed rooms": None, "built": "1970-01-02", "rooms": 7.0}
    del second["owner"]
    rows = DECODER.decode(json.dumps({"rows": [ROW, second]}).encode())
    columns = DECODER.to_columns(rows)
    assert set(columns) == {c.name for c in COLUMNS}
    np.testing.assert_array_equal(columns["income"], [3.5, 3.5])
    np.testing.assert_array_equal(columns["rooms"], [10.0, 7.0])
    np.testing.assert_array_equal(columns["bed rooms"], [2.0, np.nan])
    np.testing.assert_array_equal(columns["built"], [7441.0, 1.0])
    assert columns["sea"].tolist() == ["near bay", "near bay"]
    assert columns["owner"].tolist() == ["Ada", ""]
    assert {k for k, v in columns.items() if v.dtype == object} == {"sea", "owner"}


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"income": "NaN"}, "rows[1].income", 'expected a number from 0.5 to 15, got "NaN"'),
        ({"income": None}, "rows[1].income", "got null"),
        ({"income": True}, "rows[1].income", "got true"),
        ({"income": [1]}, "rows[1].income", "got an array"),
        ({"income": 15.1}, "rows[1].income", "from 0.5 to 15, got 15.1"),
        ({"rooms": 1.5}, "rows[1].rooms", "expected a whole number from 1 to 1000, got 1.5"),
        ({"bed rooms": 0}, "rows[1].bed rooms", "expected a whole number from 1 to 500 or null, got 0"),
        ({"élan (m/s)": {}}, "rows[1].élan (m/s)", "got an object"),
        ({"built": 7441}, "rows[1].built", "expected a date YYYY-MM-DD, got 7441"),
        ({"built": "1990-02-30"}, "rows[1].built", 'got "1990-02-30"'),
        ({"sea": "mountain"}, "rows[1].sea", "expected one of 'inland', 'near bay', 'is\"land', got \"mountain\""),
        ({"sea": ""}, "rows[1].sea", 'got ""'),
        ({"owner": ""}, "rows[1].owner", "expected a string that is not empty or null"),
        ({"incom": 1}, "rows[1].incom", "unknown column 'incom'; did you mean 'income'?"),
        ({"value": 1}, "rows[1].value", "unknown column 'value'"),
    ],
)
def test_a_refusal_names_the_field_and_what_was_expected(change: dict[str, Any], path: str, said: str) -> None:
    refusal = refuse({"rows": [ROW, {**ROW, **change}]})
    assert (refusal.status, refusal.path) == (422, path)
    assert said in refusal.message
    assert refusal.expected


@pytest.mark.parametrize(
    ("body", "status", "path", "said"),
    [
        ({"rows": [{k: v for k, v in ROW.items() if k != "sea"}]}, 422, "rows[0].sea", "sea is required"),
        ({}, 422, "rows", "rows is required"),
        ({"rows": []}, 422, "rows", "the list is empty"),
        ({"rows": [ROW] * 6}, 422, "rows", "at most 5"),
        ({"rows": ROW}, 422, "rows", "expected a list of rows"),
        ({"row": ROW}, 422, "row", "did you mean 'rows'?"),
        ({"rows": [3]}, 422, "rows[0]", "expected an object with the columns as keys, got 3"),
        ([ROW], 422, "body", "got array"),
        (b"null", 422, "body", "got null"),
        (b"", 400, "body", "not JSON"),
        (b'{"rows": [', 400, "body", "not JSON"),
        (b"\xff\xfe", 400, "body", "not JSON"),
        (b'{"rows":[{"sea":"\xff"}]}', 400, "body", "not UTF-8"),
        (b'{"rows":[{"income":NaN}]}', 400, "rows[0].income", "JSON knows no NaN"),
        (b'{"rows":[{"income":-Infinity}]}', 400, "rows[0].income", "JSON knows no -Infinity"),
        (b'{"rows":[{"\\ud800":NaN}]}', 400, "rows[0].?", "JSON knows no NaN"),
        (b'{"rows":[{"income":1e999}]}', 422, "rows[0].income", "out of range"),
        (b'{"rows":[{"income":"x"}],"rows":3}', 422, "rows[0].income", "expected a number"),
        (b'{"rows":' + b"[" * 100_000, 422, "rows[0]", "expected an object"),
        (b'{"rows":[{"income":' + b"[" * 100_000, 422, "rows[0].income", "expected a number"),
    ],
)
def test_bodies_that_are_no_rows(body: Any, status: int, path: str, said: str) -> None:
    refusal = refuse(body)
    assert (refusal.status, refusal.path) == (status, path)
    assert said in refusal.message


def test_long_values_and_names_are_cut() -> None:
    assert len(refuse({"rows": [{**ROW, "sea": "x" * 10_000}]}).to_json()) < 1_000
    assert len(refuse({"rows": [{**ROW, "y" * 10_000: 1}]}).to_json()) < 1_000


def test_a_rule_that_only_warns_is_not_enforced() -> None:
    columns = (
        Column("a", "number", 0, 1, severity={"range": "warning"}),
        Column("b", "category", categories=("x",), severity={"categories": "warning"}),
    )
    (row,) = RowDecoder(columns, 1).decode(b'{"rows":[{"a":7,"b":"y"}]}')
    assert astuple(row) == (7.0, "y")


@pytest.mark.parametrize("value", ["1969-12-31", "2024-10-05"])
def test_a_date_out_of_range_is_named(value: str) -> None:
    decoder = RowDecoder((Column("built", "date", 0, 20_000, missing=0.5),), 3)
    assert decoder.decode(b'{"rows":[{"built":"1970-01-01"},{"built":"2024-10-04"},{}]}')
    refusal = refuse({"rows": [{"built": None}, {"built": value}]}, decoder)
    assert (refusal.status, refusal.path) == (422, "rows[1].built")
    said = f'expected a date YYYY-MM-DD from 1970-01-01 to 2024-10-04 or null, got "{value}"'
    assert refusal.message == said
    assert refusal.expected["x-maximum"] == "2024-10-04"


def test_a_task_without_numbers() -> None:
    decoder = RowDecoder((Column("b", "category", categories=("x",)),), 1)
    assert decoder.to_columns(decoder.decode(b'{"rows":[{"b":"x"}]}'))["b"].tolist() == ["x"]


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([*ROW.values()])
VALUES = PLAIN | st.lists(PLAIN, max_size=2) | st.dictionaries(st.sampled_from([*ROW, "x"]), PLAIN, max_size=3)
ROWS = st.lists(st.fixed_dictionaries(dict.fromkeys(ROW, VALUES)) | VALUES, max_size=2)


@settings(max_examples=150, deadline=None)
@given(VALUES | st.fixed_dictionaries({"rows": ROWS | VALUES}, optional={"x": PLAIN}))
def test_any_json_is_decoded_or_refused(value: Any) -> None:
    try:
        rows = DECODER.decode(json.dumps(value).encode())
    except Refusal as refusal:
        assert 400 <= refusal.status < 500
        json.loads(refusal.to_json())
    else:
        assert all(len(v) == len(rows) for v in DECODER.to_columns(rows).values())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 3))
def test_any_bytes_are_decoded_or_refused(noise: bytes, position: int, dropped: int) -> None:
    body = json.dumps({"rows": [ROW]}, ensure_ascii=False).encode()
    position = min(position, len(body))
    try:
        DECODER.decode(body[:position] + noise + body[position + dropped :])
    except Refusal as refusal:
        assert 400 <= refusal.status < 500
        json.loads(refusal.to_json())
