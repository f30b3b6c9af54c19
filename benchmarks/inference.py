"""A bundle through the predictor, one thread: µs for one row, rows a second in batches.

Run: python benchmarks/inference.py [BUNDLE] [--chunks]. Rows are the reference sketch's sample of training rows.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tideline.bundle import MODEL, load_bundle
from tideline.predictor import CHUNK, Predictor
from tideline.sketch import sample_columns

Columns = dict[str, NDArray[Any]]
SINGLES, BATCHES, SECONDS = 2_000, (16, 64, 256, 1_000, 4_000), 1.0


def main() -> None:
    """Print one table; with --chunks also how fast a large batch is at several chunk sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("models/housing/bundle"))
    parser.add_argument("--chunks", action="store_true")
    arguments = parser.parse_args()

    start = time.perf_counter()
    bundle = load_bundle(arguments.bundle)
    predictor = Predictor(bundle, threads=1)
    ready = time.perf_counter() - start
    sample = sample_columns(bundle.manifest, bundle.read_reference())
    size = (bundle.path / MODEL).stat().st_size / 1e6
    print(f"{bundle.manifest.task}: {bundle.manifest.model}, {size:.1f} MB, loaded and verified in {ready:.2f} s")
    print(f"{platform.processor() or platform.machine()}, one thread, chunks of {CHUNK} rows\n")

    rows = [take(sample, i, 1) for i in range(SINGLES)]
    through, bare = time_rows(predictor.predict, rows), time_rows(lambda row: run_bare(predictor, row), rows)
    print(f"{'one row':<22}{'median µs':>10}{'p99 µs':>10}")
    print(f"{'predictor':<22}{np.median(through):>10.0f}{np.quantile(through, 0.99):>10.0f}")
    print(f"{'onnxruntime alone':<22}{np.median(bare):>10.0f}{np.quantile(bare, 0.99):>10.0f}\n")
    print(f"{'rows a batch':<22}{'µs a row':>10}{'rows/s':>10}")
    for count in BATCHES:
        print(describe_batch(predictor, take(sample, 0, count), count, str(count)))
    if arguments.chunks:
        print(f"\n{'rows a chunk':<22}{'µs a row':>10}{'rows/s':>10}")
        for chunk in (16, 32, 64, 128, 256, 512, 1_024):
            print(describe_batch(Predictor(bundle, chunk=chunk), take(sample, 0, 2_048), 2_048, str(chunk)))


def take(sample: Columns, start: int, count: int) -> Columns:
    """`count` rows of the sample, which is repeated as often as needed."""
    rows = np.arange(start, start + count) % len(next(iter(sample.values())))
    return {name: values[rows] for name, values in sample.items()}


def time_rows(predict: Callable[[Columns], Any], rows: list[Columns]) -> NDArray[np.float64]:
    """µs of each call, after a warm-up."""
    for row in rows[:200]:
        predict(row)
    spent = np.empty(len(rows))
    for i, row in enumerate(rows):
        start = time.perf_counter()
        predict(row)
        spent[i] = (time.perf_counter() - start) * 1e6
    return spent


def run_bare(predictor: Predictor, row: Columns) -> Any:
    """One call of the session with nothing around it."""
    return predictor.session.run(None, {name: values.reshape(-1, 1) for name, values in row.items()})


def describe_batch(predictor: Predictor, columns: Columns, count: int, label: str) -> str:
    """The best of the calls that fit into the time."""
    predictor.predict(columns)
    best, end = np.inf, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        predictor.predict(columns)
        best = min(best, time.perf_counter() - start)
    return f"{label:<22}{best / count * 1e6:>10.1f}{count / best:>10,.0f}"


if __name__ == "__main__":
    main()
