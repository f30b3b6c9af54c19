"""Whether the server's memory stays flat: `python -m benchmarks.soak --task housing [--minutes 10]`.

Starts the real server with its log on a copy of the task's registry, and gives it a steady load of everything: small
and large requests, labels, explanations, questions, a canary, a shadow, and each minute a promotion. Prints the memory
of the workers every half minute, and the slope of a line through it once the warm-up is over. Ends with 1 if it grows.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import psutil

from benchmarks.mixed_traffic import MixedTraffic
from benchmarks.serving import ROOT
from benchmarks.two_versions import copy_registry
from tests.serving.real_server import RealServer
from tideline import catalog
from tideline.bundle import MODEL, load_bundle, write_bundle
from tideline.champion import store_version, versions_folder
from tideline.layout import Layout
from tideline.params import load_params

EVERY = 30.0  # seconds between two looks at the memory
TURN = 60.0  # seconds from one promotion to the next
WARM = 0.5  # of the time: caches, pools and the allocator find their size
LIMIT = 12.0  # MB an hour that count as flat


def main() -> None:
    """Print the memory over time, and a verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="housing", help="a regression task with a champion and a holdout")
    parser.add_argument("--home", type=Path, default=ROOT, help="the project that has them")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--requests", type=float, default=200.0, help="small ones a second")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores shared, {time.strftime('%Y-%m-%d')}")
    with tempfile.TemporaryDirectory(prefix="tideline-soak-") as folder:
        layout, versions = copy_registry(arguments.task, arguments.home, Path(folder))
        (layout.root / "data").symlink_to(arguments.home.resolve() / "data")  # a canary is judged on the holdout
        versions.append(add_equal(layout, versions[0]))
        with RealServer(
            ["--task", arguments.task], Path(folder), TIDELINE_SERVING_WORKERS=str(arguments.workers)
        ) as server:
            sys.exit(0 if soak(server, layout, versions, arguments) else 1)


def add_equal(layout: Layout, version: str) -> str:
    """A version that answers like another: a canary that passes the gate."""
    bundle = load_bundle(versions_folder(layout) / version)
    manifest = replace(bundle.manifest, model=f"{bundle.manifest.model}_again")
    again = write_bundle(layout.root / "again", bundle.read(MODEL), manifest, bundle.read_reference())
    return store_version(layout, again)


def soak(server: RealServer, layout: Layout, versions: list[str], arguments: argparse.Namespace) -> bool:
    """Load, look, and judge; False if the memory grows, or something failed."""
    api = httpx.get(f"{server.url}/openapi.json").json()
    row = api["components"]["schemas"]["PredictRequest"]["examples"][0]["rows"][0]
    mover = multiprocessing.get_context("spawn").Process(
        target=move_versions, args=(layout, versions, arguments.home / "params.yaml"), daemon=True
    )
    seen: list[tuple[float, float]] = []
    print(f"  {'minutes':>8s} {'RSS MB':>8s} {'own MB':>8s} {'answers':>10s} {'log MB':>8s}  champion")
    with MixedTraffic(server.port, row, arguments.requests) as traffic:
        mover.start()
        start = time.monotonic()
        while (passed := time.monotonic() - start) < 60 * arguments.minutes:
            rss, own = measure_workers(server)
            seen.append((passed, rss))
            log = (layout.root / "store" / "predictions.db").stat().st_size / 2**20
            champion = server.client.get("/model").json()["version"]
            answers = sum(n for (path, _), n in traffic.statuses.items() if path == "/predict")
            print(f"  {passed / 60:8.1f} {rss:8.1f} {own:8.1f} {answers:10,d} {log:8.1f}  {champion}", flush=True)
            time.sleep(EVERY)
    is_alive = mover.is_alive()
    mover.terminate()
    mover.join()
    return judge(seen, traffic) and is_alive


def judge(seen: list[tuple[float, float]], traffic: MixedTraffic) -> bool:
    """Print slope and counts; True if it is flat, and nothing failed."""
    times, sizes = np.array(seen[int(WARM * len(seen)) :]).T
    (slope, _), covariance = np.polyfit(times / 3600, sizes, 1, cov=True)
    error = 2 * covariance[0, 0] ** 0.5
    grows, is_sure = bool(slope - error > LIMIT), bool(slope + error < LIMIT)
    verdict = "IT GROWS" if grows else "flat" if is_sure else "no growth that this time could show"
    failed = {f"{p} {s}": n for (p, s), n in traffic.statuses.items() if s != 200}
    print(f"  answers: { {f'{p} {s}': n for (p, s), n in sorted(traffic.statuses.items())} }")
    print(f"  not 200: {failed or 'none'}; connections that broke: {len(traffic.broken)}")
    print(
        f"  after warm-up {sizes[0]:.1f} to {sizes[-1]:.1f} MB in {(times[-1] - times[0]) / 60:.1f} minutes: "
        f"{slope:+.1f} ± {error:.1f} MB/h: {verdict}"
    )
    return not grows and not failed and not traffic.broken


def measure_workers(server: RealServer) -> tuple[float, float]:
    """Resident MB of the workers together, and the part that is theirs alone."""
    rss = own = 0.0
    for process in psutil.Process(server.process.pid).children(recursive=True):
        if "_bentoml_impl.worker.service" in " ".join(process.cmdline()):
            rss += process.memory_info().rss / 2**20
            own += process.memory_full_info().uss / 2**20
    return rss, own


def move_versions(layout: Layout, versions: list[str], params_file: Path) -> None:
    """The other process: each turn a canary and a shadow, then the canary becomes champion."""
    from tideline.rollout import challenge, promote_canary

    task, params = catalog.get_task(layout.task), load_params(params_file)
    # On a busy machine even an equal canary may look slow: none is to be withdrawn here.
    params = replace(params, rollout=replace(params.rollout, error=100.0, latency=100.0))
    first, shifted, again = versions
    while True:
        for canary in (again, first):
            begun = time.monotonic()
            with redirect_stdout(None):
                challenge(task, params, layout, "shadow", version=shifted)
                verdict = challenge(task, params, layout, "canary", 0.3, version=canary)
            if not verdict.accepted:
                sys.exit(f"the canary was refused: {verdict.reasons}")
            time.sleep(max(1.0, begun + TURN - time.monotonic()))
            promote_canary(layout, canary, "soak")


if __name__ == "__main__":
    main()
