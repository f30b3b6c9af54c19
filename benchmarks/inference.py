"""A bundle through the predictor, one thread: µs for one row, rows a second in batches.

Run: python benchmarks/inference.py [BUNDLE] [--chunks]. Rows are the reference sketch's sample of training rows;
the clock is the one of the report.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

from tideline.bundle import MODEL, load_bundle
from tideline.predictor import CHUNK, Predictor
from tideline.sketch import sample_columns
from tideline.speed import Columns, take_rows, take_singles, time_batch, time_rows

BATCHES = (16, 64, 256, 1_000, 4_000)


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

    rows = take_singles(sample)
    through, bare = time_rows(predictor.predict, rows), time_rows(lambda row: run_bare(predictor, row), rows)
    print(f"{'one row':<22}{'median µs':>10}{'p99 µs':>10}")
    print(f"{'predictor':<22}{np.median(through):>10.0f}{np.quantile(through, 0.99):>10.0f}")
    print(f"{'onnxruntime alone':<22}{np.median(bare):>10.0f}{np.quantile(bare, 0.99):>10.0f}\n")
    print(f"{'rows a batch':<22}{'µs a row':>10}{'rows/s':>10}")
    for count in BATCHES:
        print(describe_batch(predictor, take_rows(sample, 0, count), count, str(count)))
    if arguments.chunks:
        print(f"\n{'rows a chunk':<22}{'µs a row':>10}{'rows/s':>10}")
        for chunk in (16, 32, 64, 128, 256, 512, 1_024):
            print(describe_batch(Predictor(bundle, chunk=chunk), take_rows(sample, 0, 2_048), 2_048, str(chunk)))


def run_bare(predictor: Predictor, row: Columns) -> Any:
    """One call of the session with nothing around it."""
    return predictor.session.run(None, {name: values.reshape(-1, 1) for name, values in row.items()})


def describe_batch(predictor: Predictor, columns: Columns, count: int, label: str) -> str:
    """A line of the table: the median of the calls that fit into the time."""
    spent = float(np.median(time_batch(predictor.predict, columns)))
    return f"{label:<22}{spent / count:>10.1f}{count / spent * 1e6:>10,.0f}"


if __name__ == "__main__":
    main()
