"""The prediction log: rows a second by group size, what a record costs its caller, and how long a group waits.

Run: python -m benchmarks.predlog [--postgresql URL] [--seconds 2]. Without a URL a PostgreSQL of its own is started
where its programs are installed. The records are those of housing: nine features, two intervals.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from tests.predlog.postgres import PostgresServer, find_binaries
from tideline.predlog import Record, Store, mint_ids, open_store
from tideline.predlog.insert import Appender
from tideline.predlog.records import to_rows

GROUPS = (1, 8, 32, 128, 1_000)
FEATURES = {
    "longitude": -122.23, "latitude": 37.88, "housing_median_age": 41, "total_rooms": 880, "total_bedrooms": 129,
    "population": 322, "households": 126, "median_income": 8.3252, "ocean_proximity": "NEAR BAY",
}  # fmt: skip
INTERVALS = {"0.8": [371_204.3, 512_880.1], "0.95": [301_480.7, 500_001.0]}


def main() -> None:
    """Print one table a database."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgresql", help="URL of a database to write to, instead of one that is started here")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    with tempfile.TemporaryDirectory(prefix="tideline-predlog-") as folder, run_postgres(arguments.postgresql) as url:
        for place in filter(None, (f"sqlite:///{folder}/predictions.db", url)):
            with open_store(place) as store:
                print(f"\n{place.partition(':')[0]}")
                measure_appender(store, arguments.seconds)
                asyncio.run(measure_writer(store, arguments.seconds))


@contextmanager
def run_postgres(url: str | None) -> Iterator[str | None]:
    """The URL given, or that of a new server that waits for its disk as in production; None where there is none."""
    binaries = find_binaries()
    if url or binaries is None:
        yield url
        return
    server = PostgresServer(binaries, fsync=True)
    try:
        server.start()
        yield server.create_store()
    finally:
        server.close()


def measure_appender(store: Store, seconds: float) -> None:
    """One thread, one transaction a group."""
    print(f"  {'rows a group':<14}{'rows/s':>10}{'µs a group':>12}{'CPU µs a row, this process':>28}")
    with Appender(store.database) as appender:
        for group in GROUPS:
            appender.append(to_rows(make_records(group)))  # the statement is prepared now
            spent = used = 0.0
            groups = 0
            while spent < seconds:
                records = make_records(group)
                start, cpu = time.perf_counter(), time.thread_time()
                appender.append(to_rows(records))
                spent += time.perf_counter() - start
                used += time.thread_time() - cpu
                groups += 1
            rows = groups * group
            print(f"  {group:<14}{rows / spent:>10,.0f}{spent / groups * 1e6:>12,.0f}{used / rows * 1e6:>28.1f}")


async def measure_writer(store: Store, seconds: float, clients: int = 32) -> None:
    """Clients on an event loop, each waits until its record is durable before it sends the next."""
    waits: list[float] = []
    calls: list[float] = []
    with store.writer() as writer:
        end = time.perf_counter() + seconds

        async def client() -> None:
            while time.perf_counter() < end:
                start = time.perf_counter()
                future = writer.submit_async(make_records(1))
                calls.append(time.perf_counter() - start)
                await future
                waits.append(time.perf_counter() - start)

        await asyncio.gather(*(client() for _ in range(clients)))
        groups = writer.state.groups
    p50, p99 = np.quantile(waits, [0.5, 0.99]) * 1e3
    print(
        f"  writer, {clients} clients of one record: {len(waits) / seconds:,.0f} rows/s in groups of "
        f"{len(waits) / groups:.1f}; a record waits p50 {p50:.2f} ms, p99 {p99:.2f} ms; "
        f"making and submitting it takes its caller {np.median(calls) * 1e6:.1f} µs"
    )
    records = time_per_record(100)
    print(f"  making a record (with its id) in a batch of 100 takes its caller {records * 1e6:.2f} µs")


def time_per_record(batch: int, repeats: int = 300) -> float:
    """Seconds a record, the best of many."""
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        make_records(batch)
        best = min(best, (time.perf_counter() - start) / batch)
    return float(best)


def make_records(n: int) -> list[Record]:
    """What a server makes of n answered rows."""
    now = time.time_ns() // 1000
    return [
        Record(name, "3f2c9d", now, "housing", "v0001-0123456789ab", "champion", FEATURES, 452_600.5, None, None,
               INTERVALS, 850, None, "/predict")
        for name in mint_ids(n)
    ]  # fmt: skip


if __name__ == "__main__":
    main()
