"""Rows a second in bulk, through HTTP and by onnxruntime alone: `python -m benchmarks.bulk --task housing`.

Two real servers, one worker each, one with its prediction log (a SQLite file in a temporary folder) and one without,
are asked for the same rows as JSON, CSV and Arrow, over one connection, the answer in the same format. onnxruntime
alone is `session.run` with one thread on arrays that are ready, in runs of 256 rows or of all, whichever is faster.
All take turns, round after round, so that a machine that is shared harms them alike; the table has medians.
"""

from __future__ import annotations

import argparse
import http.client
import io
import os
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from pyarrow import csv

from benchmarks.serving import run_server
from tideline.bundle import Bundle, load_bundle
from tideline.champion import champion_bundle
from tideline.layout import Layout
from tideline.predictor import CHUNK, Predictor

ARROW = "application/vnd.apache.arrow.stream"


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--task", help="whose champion")
    chosen.add_argument("--bundle", type=Path, help="this bundle instead")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    path = arguments.bundle or champion_bundle(Layout(arguments.task))
    target = ["--task", arguments.task] if arguments.task else ["--bundle", str(arguments.bundle)]
    bundle, n = load_bundle(path), arguments.rows
    rows, columns = make_rows(bundle, n)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores shared, {time.strftime('%Y-%m-%d')}")
    print(f"{bundle.manifest.task}: {bundle.manifest.model}, {len(columns)} columns, requests of {n:,} rows")
    with ExitStack() as stack:
        acts = {f"onnxruntime alone, {size:,} rows a run": run_alone(bundle, columns, size) for size in {CHUNK, n}}
        for log in ("off", "on"):
            port, _ = stack.enter_context(run_server(target, log))
            for name, (media, body) in write_bodies(rows).items():
                acts[f"{name}, log {log}"] = ask(port, media, body)
        seconds: dict[str, list[float]] = {name: [] for name in acts}
        for act in acts.values():
            act()  # warm
        for _ in range(arguments.rounds):
            for name, act in acts.items():
                start = time.perf_counter()
                act()
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(spent) for name, spent in seconds.items()}
    alone = min(spent for name, spent in medians.items() if name.startswith("onnxruntime"))
    for name, spent in medians.items():
        print(f"  {name:40s}{n / spent:10,.0f} rows/s  {alone / spent:6.2f} of onnxruntime")


def make_rows(bundle: Bundle, n: int) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Training rows of the bundle's sketch, over and over, as a client has them and as the predictor takes them."""
    sample = bundle.read_reference()["sample"]
    columns, plain = {}, {}
    for column in bundle.manifest.columns:
        values = [sample[column.name][i % len(sample[column.name])] for i in range(n)]
        if column.is_text:
            columns[column.name] = np.array([value or "" for value in values], dtype=object)
        else:
            columns[column.name] = np.array(values, dtype=np.float64)
        is_date = column.kind == "date"
        plain[column.name] = columns[column.name].astype("datetime64[D]").astype(str).tolist() if is_date else values
    return [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)], columns


def write_bodies(rows: list[dict[str, Any]]) -> dict[str, tuple[str, bytes]]:
    """The rows in each format, with its media type."""
    table = pa.Table.from_pylist(rows)
    text, stream = io.BytesIO(), io.BytesIO()
    csv.write_csv(table, text)
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return {
        "JSON": ("application/json", msgspec.json.encode({"rows": rows})),
        "CSV": ("text/csv", text.getvalue()),
        "Arrow": (ARROW, stream.getvalue()),
    }


def run_alone(bundle: Bundle, columns: dict[str, np.ndarray], size: int) -> Callable[[], object]:
    """The model's graph and nothing else."""
    session = Predictor(bundle, threads=1).session
    feeds = {name: values.reshape(-1, 1) for name, values in columns.items()}
    n = len(next(iter(feeds.values())))
    parts = [{name: values[i : i + size] for name, values in feeds.items()} for i in range(0, n, size)]
    return lambda: [session.run(None, part) for part in parts]


def ask(port: int, media: str, body: bytes) -> Callable[[], object]:
    """One request over a connection that stays open."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def send() -> None:
        connection.request("POST", "/predict", body, {"content-type": media, "accept": media})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"not answered: {answer.status} {content[:500]!r}")

    return send


if __name__ == "__main__":
    main()
