"""The loop on real drift: `python -m benchmarks.loop [--months 12] [--lag 3] [--policies frozen ours ...]`.

Bikes, trained on 2011; the hours of 2012 go through the real server in order, their labels follow late. Every policy
starts from the same champion and sees the same year. Prints error by month, retrainings, alarms and seconds, and
draws the error over time (--picture FILE).
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.loop.picture import draw
from benchmarks.loop.policies import POLICIES
from benchmarks.loop.project import copy_for, make_project
from benchmarks.loop.replay import Replay, read_year, replay

TRAINED = ("promoted", "refused", "already champion")


def main() -> None:
    """Replay each policy and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.loop", description=__doc__)
    parser.add_argument("--months", type=int, default=12, help="of 2012, from January on")
    parser.add_argument("--lag", type=int, default=3, help="days from prediction to label")
    parser.add_argument("--policies", nargs="+", choices=[p.name for p in POLICIES])
    parser.add_argument("--picture", type=Path, help="an SVG of the error over time")
    parser.add_argument("--keep", type=Path, help="a folder that is kept: the first champion in base/ is used again")
    arguments = parser.parse_args()
    chosen = [p for p in POLICIES if not arguments.policies or p.name in arguments.policies]
    last = f"{2012 + arguments.months // 12}-{arguments.months % 12 + 1:02d}-01"
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.keep or Path(temporary)
        base = home / "base"
        if not base.exists():
            start = time.monotonic()
            make_project(base)
            print(f"first champion, trained on 2011: {time.monotonic() - start:.0f} s", flush=True)
        found, year = [], read_year(base, "2012-01-01", last)
        for policy in chosen:
            print(f"  {policy.name}", flush=True)
            folder = home / f"{policy.name}-{time.time_ns()}"
            copy_for(base, folder, policy.params)
            found.append(replay(folder, policy, year, arguments.lag))
    print_table(found, arguments.lag, last)
    if arguments.picture:
        draw(found, arguments.picture)
        print(f"picture: {arguments.picture}")


def print_table(found: list[Replay], lag: int, last: str) -> None:
    """One line a policy."""
    months = np.arange(np.datetime64("2012-01", "M"), np.datetime64(last[:7], "M") + 1)
    edges = months.astype("datetime64[D]").astype(int).astype(float)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(f"\n{machine}, {time.strftime('%Y-%m-%d')}; labels {lag} days late")
    print(f"{'policy':10s}{'RMSE':>7s}{'trained':>9s}{'promoted':>9s}{'alarms':>8s}{'seconds':>9s}   RMSE by month")
    for r in found:
        by_month = " ".join(f"{r.rmse(low, high):4.0f}" for low, high in pairwise(edges))
        print(
            f"{r.policy.name:10s}{r.rmse():7.1f}{r.count(*TRAINED):9d}{r.count('promoted'):9d}{r.alarms:8d}"
            f"{r.seconds:9.0f}   {by_month}"
        )
    by_name = {r.policy.name: r.rmse() for r in found}
    if {"frozen", "monthly"} <= by_name.keys():
        frozen, gain = by_name["frozen"], by_name["frozen"] - by_name["monthly"]
        for name in {"ours", "schedule"} & by_name.keys():
            print(f"{name} reaches {(frozen - by_name[name]) / gain:.0%} of the yardstick's gain over frozen")


if __name__ == "__main__":
    main()
