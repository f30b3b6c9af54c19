"""The server beside its peers: `python -m benchmarks.peers [--seconds 5] [--only NAME ...] [--bundle PATH ...]`.

All serve the same ONNX graph, one worker each, and are asked about one row at a time. They are started together and
measured in turns, so that what else the machine does meets all of them; the table holds medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.peers.contestants import CONTESTANTS, OURS, ROOT, Contestant, Row
from benchmarks.peers.load import Figures, find_generator, measure
from benchmarks.peers.model import find_model
from benchmarks.peers.running import check_answer, run_server
from tideline.bundle import Bundle, load_bundle


def main() -> None:
    """Print one table a model."""
    parser = argparse.ArgumentParser(prog="benchmarks.peers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="those whose name holds one of these words")
    parser.add_argument("--bundle", type=Path, nargs="*", default=[], help="also measure with these bundles' models")
    parser.add_argument("--no-own", action="store_true", help="only with the bundles given")
    arguments = parser.parse_args()
    words = [word.lower() for word in arguments.only or [""]]
    chosen = [c for c in CONTESTANTS if any(word in c.name.lower() for word in words)]
    if not chosen:
        parser.error(f"nobody is called that; there are: {', '.join(c.name for c in CONTESTANTS)}")
    models = [] if arguments.no_own else [find_model(ROOT / ".tideline" / "peers" / "model")]
    models += [load_bundle(path.resolve()) for path in arguments.bundle]
    for bundle in models:
        compare(bundle, chosen, arguments)


def compare(bundle: Bundle, chosen: Sequence[Contestant], arguments: argparse.Namespace) -> None:
    """Start all, measure in turns, stop all, print."""
    row, expected, alone = measure_alone(bundle)
    print(f"\n{_describe_machine()}, {time.strftime('%Y-%m-%d')}; load from {find_generator()}")
    print(f"model {bundle.manifest.model} {bundle.digest[:8]}: one row in {alone:.0f} us in onnxruntime alone")
    print(f"one row a request, {arguments.connections} connections, one worker; medians of {arguments.rounds} rounds")
    figures: dict[str, list[Figures]] = {c.name: [] for c in chosen}
    with ExitStack() as stack:
        ports: dict[str, int] = {}
        for contestant in chosen:
            if contestant.server not in ports:
                ports[contestant.server] = stack.enter_context(run_server(contestant, bundle.path))
        bodies = {c.name: json.dumps(c.encode(row)).encode() for c in chosen}
        for contestant in chosen:
            port, body = ports[contestant.server], bodies[contestant.name]
            check_answer(contestant, port, body, expected)
            measure(port, contestant.path, body, arguments.connections, 1.0)  # warm
        for number in range(arguments.rounds):
            for contestant in chosen if number % 2 == 0 else reversed(chosen):
                port, body = ports[contestant.server], bodies[contestant.name]
                found = measure(port, contestant.path, body, arguments.connections, arguments.seconds)
                figures[contestant.name].append(found)
    print_table(chosen, figures)


def measure_alone(bundle: Bundle) -> tuple[Row, float, float]:
    """A row of the reference sample, what onnxruntime predicts for it, and how long that takes (us, one row)."""
    import numpy as np

    from tideline.predictor import open_session

    sample = bundle.read_reference()["sample"]
    columns = bundle.manifest.columns
    row = {c.name: sample[c.name][0] for c in columns}
    feeds = {c.name: np.array([[row[c.name]]], dtype=object if c.is_text else np.float64) for c in columns}
    session = open_session(bundle.read("model.onnx"), str(bundle.path), 1, "cpu")
    times = []
    for _ in range(2_000):
        start = time.perf_counter()
        answer = session.run(["prediction"], feeds)[0]
        times.append(time.perf_counter() - start)
    return row, float(answer[0, 0]), 1e6 * statistics.median(times)


def print_table(chosen: Sequence[Contestant], figures: dict[str, list[Figures]]) -> None:
    """Medians; `ours/it` is the median of the rounds' own ratios."""
    width = max(len(c.name) for c in chosen)
    print(
        f"\n{'server':{width}}  {'req/s':>7} {'p50 ms':>7} {'p99 ms':>7} {'not 2xx':>8} {'broken':>6} {'ours/it':>8}"
        f"  {'checks':7} {'intervals':9} {'ids':4} {'log':4} batches"
    )
    for c in chosen:
        found = figures[c.name]
        rate, p50, p99 = (statistics.median(getattr(f, key) for f in found) for key in ("rate", "p50", "p99"))
        refused, broken = sum(f.refused for f in found), sum(f.broken for f in found)
        ratio = "-"
        if OURS in figures:
            ratio = f"{statistics.median(o.rate / f.rate for o, f in zip(figures[OURS], found, strict=True)):.2f}"
        intervals, ids, log, batches = ("yes" if v else "no" for v in (c.intervals, c.ids, c.log, c.batches))
        print(
            f"{c.name:{width}}  {rate:7,.0f} {p50:7.2f} {p99:7.2f} {refused:8,} {broken:6} {ratio:>8}"
            f"  {c.checks:7} {intervals:9} {ids:4} {log:4} {batches}"
        )


def _describe_machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores shared by server and load"


if __name__ == "__main__":
    main()
