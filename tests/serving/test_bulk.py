"""Arrow and CSV in, JSON, Arrow and CSV out: the same answers, the same log, errors by row and column."""

from __future__ import annotations

import csv
import io
import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from serving.asgi import JSON
from serving.columnar.checks import ColumnTaker
from serving.columnar.media import ARROW, CSV, choose_format
from serving.columnar.read import PLACES, read_arrow, read_csv
from serving.errors import Refusal
from tests.serving.real_server import ROOT, RealServer, clean_environment
from tests.serving.small_bundle import CLASSES, COLUMNS, ROW, expected_value
from tideline.bundle import Bundle

ROWS = [ROW, {**ROW, "income": 7.25, "bed rooms": None, "owner": None, "sea": 'is"land'}]
MIXED = [{**ROWS[i % 2], "income": 1 + i / 100} for i in range(300)]


def write(media: str, rows: list[dict[str, Any]], **options: Any) -> bytes:
    if media == JSON:
        return json.dumps({"rows": rows}).encode()
    if media == ARROW:
        return write_stream(pa.Table.from_pylist(rows), **options)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def write_stream(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=100)
    return sink.getvalue()


def ask(server: RealServer, media: str, body: bytes, accept: str = "*/*") -> httpx.Response:
    return server.client.post("/predict", content=body, headers={"content-type": media, "accept": accept})


def read(answer: httpx.Response) -> list[dict[str, Any]]:
    """An answer's rows, whatever its format."""
    assert answer.status_code == 200, answer.text
    media = answer.headers["content-type"]
    if media == ARROW:
        return pa.ipc.open_stream(answer.content).read_all().to_pylist()  # type: ignore[no-any-return]
    if media == CSV:
        return [
            {k: v if k in ("prediction_id",) or v in CLASSES else json.loads(v) for k, v in row.items()}
            for row in csv.DictReader(io.StringIO(answer.text))
        ]
    body = answer.json()
    found = []
    for i, (name, prediction) in enumerate(zip(body["prediction_ids"], body["predictions"], strict=True)):
        row: dict[str, Any] = {"prediction_id": name, "prediction": prediction}
        for level, pairs in body.get("intervals", {}).items():
            row |= {f"lower_{level}": pairs[i][0], f"upper_{level}": pairs[i][1]}
        if "probabilities" in body:
            row |= {f"probability_{c}": p for c, p in body["probabilities"][i].items()}
            row |= {f"set_{level}": sets[i] for level, sets in body["sets"].items()}
        found.append(row)
    return found


def stored(server: RealServer) -> dict[str, tuple[Any, ...]]:
    store = sqlite3.connect(server.home / "store" / "predictions.db")
    query = "SELECT prediction_id, features, prediction, predicted_class, probabilities, intervals FROM predictions"
    return {row[0]: row[1:] for row in store.execute(query)}


@pytest.fixture(scope="module")
def classifier(classification_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    home = tmp_path_factory.mktemp("classifier")
    with RealServer(["--bundle", str(classification_bundle.path)], home) as running:
        yield running


@pytest.mark.parametrize(("media", "accept"), list(product((JSON, ARROW, CSV), repeat=2)))
@pytest.mark.parametrize("rows", [ROWS, MIXED], ids=len)
@pytest.mark.parametrize("problem", ["regression", "classification"])
def test_formats_say_the_same(
    server: RealServer, classifier: RealServer, problem: str, rows: list[dict[str, Any]], media: str, accept: str
) -> None:
    asked = server if problem == "regression" else classifier
    reference, answer = read(ask(asked, JSON, write(JSON, rows))), ask(asked, media, write(media, rows), accept)
    assert answer.headers["content-type"] == accept
    found = read(answer)
    log = stored(asked)
    assert [log[row.pop("prediction_id")] for row in found] == [log[row.pop("prediction_id")] for row in reference]
    assert found == reference
    if problem == "regression":
        expected = [expected_value(row) for row in rows]
        np.testing.assert_allclose([row["prediction"] for row in found], expected, rtol=1e-6)


def test_who_answered_is_said_in_each_format(server: RealServer) -> None:
    model = server.client.get("/model").json()
    arrow = ask(server, ARROW, write(ARROW, ROWS), ARROW)
    metadata = pa.ipc.open_stream(arrow.content).schema.metadata
    assert metadata[b"version"].decode() == model["version"] == arrow.headers["x-model-version"]
    answer = ask(server, CSV, write(CSV, ROWS), CSV)
    assert answer.headers["x-model-version"] == model["version"] and answer.headers["x-model-task"] == "toy"


def test_a_missing_column_and_arrow_types(server: RealServer) -> None:
    numbers = {"income": pa.array([3.5], pa.float32()), "rooms": pa.array([10], pa.uint8())}
    table = pa.table({
        **numbers,
        "élan (m/s)": pa.array([-1], pa.int64()),
        "built": pa.array([datetime(1990, 5, 17)], pa.timestamp("ns")),
        "sea": pa.array(["near bay"]).dictionary_encode(),
    })  # fmt: skip
    expected = expected_value({**ROW, "élan (m/s)": -1, "bed rooms": None, "owner": None})
    assert read(ask(server, ARROW, write_stream(table)))[0]["prediction"] == pytest.approx(expected)
    for built in (pa.array([date(1990, 5, 17)]), pa.array(["1990-05-17"], pa.large_string())):
        changed = table.set_column(3, "built", built)
        assert read(ask(server, ARROW, write_stream(changed)))[0]["prediction"] == pytest.approx(expected)


@pytest.mark.parametrize("media", [ARROW, CSV])
@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"income": 99.5}, "rows[1].income", "expected a number from 0.5 to 15, got 99.5"),
        ({"income": None}, "rows[1].income", "got null"),
        ({"income": float("inf")}, "rows[1].income", 'got "inf"'),
        ({"rooms": 2.5}, "rows[1].rooms", "expected a whole number"),
        ({"sea": "moon"}, "rows[1].sea", "expected one of 'inland'"),
        ({"built": "2001-2-3"}, "rows[1].built", 'got "2001-2-3"'),
        ({"incom": 1}, "columns.incom", "did you mean 'income'?"),
    ],
)
def test_errors_name_row_and_column(
    server: RealServer, media: str, change: dict[str, Any], path: str, said: str
) -> None:
    rows = [{**dict.fromkeys(change), **ROW}, {**ROW, **change}]
    answer = ask(server, media, write(media, [{**row, "rooms": float(row["rooms"])} for row in rows]))
    error = answer.json()["error"]
    assert (answer.status_code, error["path"]) == (422, path), error
    assert said in error["message"] and error["expected"]


@pytest.mark.parametrize(
    ("media", "body", "status", "path", "said"),
    [
        (CSV, b"", 400, "body", "no CSV"),
        (CSV, b"income,sea\n1", 400, "body", "Row #2: Expected 2 columns, got 1"),
        (CSV, b"income\n\xff", 400, "body", "UTF8"),
        (CSV, b"income,income\n1,2", 422, "columns.income", "comes twice"),
        (CSV, b"income\n1", 422, "columns.rooms", "rooms is required"),
        (CSV, b"3.5,10\n3.5,11", 422, "columns.3.5", "unknown column '3.5'"),
        (CSV, write(CSV, ROWS).replace(b"7.25", b"7,25"), 400, "body", "Expected 7 columns, got 8"),
        (CSV, write(CSV, ROWS).replace(b"7.25", b"abc"), 422, "rows[1].income", 'got "abc"'),
        (CSV, write(CSV, ROWS).splitlines(True)[0], 422, "rows", "there are no rows"),
        (CSV, write(CSV, ROWS * 251), 422, "rows", "at most 500"),
        (ARROW, b"", 400, "body", "no Arrow IPC stream"),
        (ARROW, b"ARROW1" + bytes(90), 400, "body", "no Arrow IPC stream"),
        (ARROW, write(ARROW, ROWS)[:-90], 400, "body", "no Arrow IPC stream"),
        (ARROW, write(ARROW, ROWS * 251), 422, "rows", "at most 500"),
        (ARROW, write(ARROW, ROWS * 9, compression="zstd"), 415, "body", "compressed Arrow buffers"),
        (ARROW, write(ARROW, [{**ROW, "income": True}]), 422, "columns.income", "Arrow's type bool"),
        (ARROW, write(ARROW, [{**ROW, "sea": 3}]), 422, "columns.sea", "Arrow's type int64"),
        (ARROW, write(ARROW, [{**ROW, "built": datetime(2001, 2, 3, 4)}]), 422, "rows[0].built", "04:00"),
    ],
)
def test_bodies_that_are_no_rows(
    server: RealServer, media: str, body: bytes, status: int, path: str, said: str
) -> None:
    answer = ask(server, media, body)
    error = answer.json()["error"]
    assert (answer.status_code, error["path"]) == (status, path), error
    assert said in error["message"]


def test_a_text_that_is_repeated_may_not_fill_the_memory(server: RealServer) -> None:
    codes = pa.array([0] * 400, pa.int16())
    table = pa.table({"owner": pa.DictionaryArray.from_arrays(codes, pa.array(["x" * 50_000]))})
    assert ask(server, ARROW, write_stream(table)).status_code == 413


def test_a_small_body_of_many_columns_is_refused_at_once() -> None:
    """pyarrow alone would take 9 s for a tenth of these names, and three minutes for all."""
    columns, many = {column.name: column for column in COLUMNS}, 1_000_000
    for first in ("a", '"a\nb"', '""'):
        body = f"{first},{','.join('b' * many)}\n{','.join('1' * (many + 1))}\n".encode()
        with pytest.raises(Refusal) as caught:
            read_csv(body, columns, 500)
        assert (caught.value.status, caught.value.path) == (400, "body")
        with pytest.raises(Refusal) as caught:
            read_csv(body[:40_000] + b"\n1,2", columns, 500)
        assert (caught.value.status, caught.value.path) == (422, "columns")
    fields = [pa.field(f"c{i}", pa.float64()) for i in range(50_000)]
    with pytest.raises(Refusal, match="50,000 columns, the model knows 7") as caught:
        read_arrow(write_stream(pa.schema(fields).empty_table()), columns, 500)
    assert (caught.value.status, caught.value.path) == (422, "columns")


def test_many_rows_are_refused_before_they_are_looked_at() -> None:
    columns = {column.name: column for column in COLUMNS}
    body = b"income\n" + b"1\n" * 200_000 + b"x\n"
    with pytest.raises(Refusal) as caught:
        read_csv(body, columns, 500)
    assert (caught.value.status, caught.value.path) == (422, "rows")
    for row in (0, 1, 77_777, 200_000):
        lines = [b"1"] * 200_001
        lines[row] = b"x"
        with pytest.raises(Refusal) as caught:
            read_csv(b"income\n" + b"\n".join(lines), columns, 1_000_000)
        assert caught.value.path == f"rows[{row}].income"


def test_lines_of_names() -> None:
    """As RFC 4180 has them, and as spreadsheets write them."""
    columns = {column.name: column for column in COLUMNS}
    for head in (
        b"income,rooms",
        b'"income","rooms"',
        b"\xef\xbb\xbfincome,rooms",
        b"\n\nincome,rooms",
        b'inc"ome,rooms',
    ):
        for end in (b"\n", b"\r\n", b"\r"):
            given = read_csv(end.join([head.replace(b"\n", end), b"1.5,3", b'"2.5",4', b""]), columns, 500)
            first, second = given
            assert (first, second) == ("income" if b'c"o' not in head else 'inc"ome', "rooms")
            assert given["rooms"].tolist() == [3.0, 4.0]


def test_damaged_bodies_are_refused_or_read() -> None:
    table = pa.Table.from_pylist(ROWS)
    place = table.schema.get_field_index("sea")
    streams = [table.set_column(place, "sea", sea) for sea in (table["sea"], table["sea"].dictionary_encode())]
    bodies, taker = [*map(write_stream, streams), write(CSV, ROWS)], ColumnTaker(COLUMNS, 500)
    columns = {column.name: column for column in COLUMNS}
    draw, refused = random.Random(7), 0
    for number in range(3000):
        body = bytearray(bodies[number % 3])
        for _ in range(draw.randint(1, 4)):
            body[draw.randrange(len(body))] = draw.randrange(256)
        try:
            given = (read_csv if number % 3 == 2 else read_arrow)(bytes(body), columns, 500)
            assert list(taker.take(given, PLACES))
        except Refusal as refusal:
            assert 400 <= refusal.status < 500 and json.loads(refusal.to_json())
            refused += 1
    assert 0 < refused < 3000


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("text/html, */*;q=0.1", JSON),
        ("text/csv", CSV),
        (f"{ARROW};q=0.9, text/csv;q=0.2", ARROW),
        ("text/csv;q=0, application/json;q=0.1", JSON),
        ("TEXT/CSV; q=oops, text/csv; charset=utf-8", CSV),
    ],
)
def test_accept(accept: str, chosen: str) -> None:
    assert choose_format(accept) == chosen


IN_PROCESS = """
import asyncio, sys
from serving.app import Application
from serving.settings import Settings

async def main():
    application = Application(Settings.from_environment())
    application.open()
    print("pyarrow" in sys.modules)
    async def receive():
        return {"type": "http.request", "body": sys.stdin.buffer.read(), "more_body": False}
    async def send(message):
        if "status" in message:
            print(message["status"])
    names = [(b"content-type", sys.argv[1].encode()), (b"accept", b"application/vnd.apache.arrow.stream")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": names, "server": ("127.0.0.1", 3000)}
    await application(scope, receive, send)
    application.close()
asyncio.run(main())
print(sorted({"pyarrow", "pandas"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("media", "body", "status"),
    [
        (CSV, write(CSV, MIXED), "200"),
        (ARROW, write(ARROW, MIXED), "200"),
        (ARROW, write_stream(pa.Table.from_pylist(MIXED).slice(0, 0)), "422"),
    ],
)
def test_pyarrow_is_loaded_by_the_first_who_needs_it_and_pandas_never(
    regression_bundle: Bundle, tmp_path: Path, media: str, body: bytes, status: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_PROCESS, media],
        env=clean_environment(tmp_path, TIDELINE_BUNDLE=str(regression_bundle.path)),
        input=body,
        cwd=ROOT,
        capture_output=True,
        timeout=60,
    )
    assert done.stdout.decode().split("\n")[:3] == ["False", status, "['pyarrow']"], done.stderr.decode()
