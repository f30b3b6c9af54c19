"""What clients notice while versions are switched: `python -m benchmarks.switching --task housing [--moves 10]`.

Starts the real server on a copy of the task's registry with a second version that answers SHIFT more, loads it with
one-row requests in a closed loop, and lets another process move the pointer back and forth with the real acts of the
registry. Prints latencies within a second after each move and at all other times, the requests that failed, and the
answers that name one version and carry the prediction of the other.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import pandas as pd

from benchmarks.serving import ROOT, load, quantile
from benchmarks.two_versions import SHIFT, copy_registry
from tests.serving.real_server import RealServer
from tideline.champion import versions_folder
from tideline.layout import Layout
from tideline.predictor import Predictor, columns_from_frame
from tideline.registry import rollback

NEAR = 1.0  # seconds after a move that count as near to it
FIRST = 2.0  # seconds until the first move


@dataclass
class Answers:
    """What the clients were told: (sent, answered) on perf_counter's clock; how often each (version, prediction)."""

    times: list[tuple[float, float]] = field(default_factory=list)
    failed: int = 0
    given: dict[tuple[str, str], int] = field(default_factory=dict)
    first: list[tuple[float, str]] = field(default_factory=list)  # when answers began to name another version

    def observe(self, sent: float, answered: float, answer: bytes) -> None:
        """One answer."""
        self.times.append((sent, answered))
        if not answer.startswith(b"HTTP/1.1 200"):
            self.failed += 1
            return
        version = _cut(answer, b'"version":"', b'"')
        told = version, _cut(answer, b'"predictions":[', b"]")
        self.given[told] = self.given.get(told, 0) + 1
        if not self.first or self.first[-1][1] != version:
            self.first.append((answered, version))


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="housing", help="a regression task with a champion and a holdout")
    parser.add_argument("--home", type=Path, default=ROOT, help="the project that has them")
    parser.add_argument("--moves", type=int, default=10)
    parser.add_argument("--every", type=float, default=3.0, help="seconds between two moves")
    parser.add_argument("--connections", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--log", choices=("on", "off"), default="on", help="the prediction log")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores shared, {time.strftime('%Y-%m-%d')}")
    with tempfile.TemporaryDirectory(prefix="tideline-switching-") as folder:
        layout, versions = copy_registry(arguments.task, arguments.home, Path(folder))
        with RealServer(["--task", arguments.task], Path(folder), TIDELINE_SERVING_LOG=arguments.log) as server:
            for connections in arguments.connections:
                measure(server, layout, versions, connections, arguments.moves, arguments.every)


def measure(
    server: RealServer, layout: Layout, versions: list[str], connections: int, moves: int, every: float
) -> None:
    """Load the server while the pointer is moved, and print what came of it."""
    api = httpx.get(f"{server.url}/openapi.json").json()
    row = api["components"]["schemas"]["PredictRequest"]["examples"][0]["rows"][0]
    load(server.port, [row], connections, 1.0)  # warm
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    mover = multiprocessing.get_context("spawn").Process(
        target=move_versions, args=(theirs, layout, versions, moves, every)
    )
    mover.start()
    ours.recv()  # it has imported what it needs
    ours.send("begin")
    answers = Answers()
    load(server.port, [row], connections, FIRST + moves * every, answers.observe)
    moved: list[float] = ours.recv()
    mover.join()
    predictors = {version: Predictor(versions_folder(layout) / version) for version in versions}
    frame = pd.DataFrame([row])
    expected = {v: p.predict(columns_from_frame(p.bundle.manifest, frame)).values[0] for v, p in predictors.items()}
    report(answers, moved, connections, expected)


def move_versions(control: Connection, layout: Layout, versions: list[str], moves: int, every: float) -> None:
    """The other process: make the two versions champion in turn; send when each pointer was moved."""
    control.send("ready")
    control.recv()
    moved: list[float] = []
    start = time.perf_counter()
    for number in range(moves):
        time.sleep(max(0.0, start + FIRST + number * every - time.perf_counter()))
        with redirect_stdout(None):
            rollback(layout, to=versions[(number + 1) % 2], reason="benchmark")
        moved.append(time.perf_counter())
    control.send(moved)


def report(answers: Answers, moved: list[float], connections: int, expected: dict[str, float]) -> None:
    """Two lines of latencies, one of counts."""
    near, far = [], []
    for sent, answered in answers.times:
        (near if any(m < answered and sent < m + NEAR for m in moved) else far).append(answered - sent)
    taken = [at for at, _ in answers.first[1:]]
    seconds = sorted(at - max(m for m in moved if m < at) for at in taken)
    counts = f"{len(answers.times):,} requests, {answers.failed} failed, {count_mixed(answers, expected)} mixed"
    after = f"served after {seconds[0]:.2f} to {seconds[-1]:.2f} s"
    print(f"{connections} connections: {counts}, {len(moved)} moves, {after}")
    for name, latencies in (("within 1 s of a move", near), ("at other times", far)):
        shown = "  ".join(f"{label} {quantile(latencies, share):7.2f} ms" for label, share in QUANTILES)
        print(f"  {name:24s}{len(latencies):10,d} requests  {shown}")


QUANTILES = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))


def count_mixed(answers: Answers, expected: dict[str, float]) -> int:
    """Answers whose prediction is not that of the version that they name (the last digits depend on the batch)."""
    told = ((count, float(text) - expected[version]) for (version, text), count in answers.given.items())
    return sum(count for count, difference in told if abs(difference) > SHIFT / 100)


def _cut(answer: bytes, start: bytes, end: bytes) -> str:
    begin = answer.find(start) + len(start)
    return answer[begin : answer.find(end, begin)].decode()


if __name__ == "__main__":
    main()
