"""2012, hour by hour, through the real server: predictions by the day, labels some days later, a look a week."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

import httpx
import numpy as np
import pandas as pd

from benchmarks.loop.policies import Policy
from benchmarks.loop.project import TASK, environment, run
from pipelines.local_server import free_port
from tideline import catalog
from tideline.layout import Layout

LINE = 160  # characters of a reason that are shown; `tideline why` has all of it
EPOCH = np.datetime64(0, "D")


@dataclass
class Replay:
    """What came of one policy. errors: (day, squared error) of each hour. events: (day, what, seconds)."""

    policy: Policy
    errors: list[tuple[float, float]] = field(default_factory=list)
    events: list[tuple[float, str, float]] = field(default_factory=list)
    alarms: int = 0
    seconds: float = 0.0

    def count(self, *names: str) -> int:
        """How many events of these kinds."""
        return sum(what in names for _, what, _ in self.events)

    def rmse(self, low: float = -np.inf, high: float = np.inf) -> float:
        """Over the hours of the days in [low, high)."""
        squares = [square for day, square in self.errors if low <= day < high]
        return float(np.sqrt(np.mean(squares)))


def read_year(base: Path, first: str, last: str) -> pd.DataFrame:
    """The hours of [first, last) in order, with the task's columns and the target, from what `base` has fetched."""
    frame = pd.read_parquet(Layout(TASK, base).raw / "data.parquet")
    low, high = (float(np.datetime64(day, "D").astype(int)) for day in (first, last))
    chosen = frame[(frame["dteday"] >= low) & (frame["dteday"] < high)]
    return chosen.sort_values(["dteday", "hr"], ignore_index=True)


def replay(folder: Path, policy: Policy, year: pd.DataFrame, lag: int) -> Replay:
    """Serve the project's champion and send it `year`; labels follow `lag` days later."""
    found, start = Replay(policy), time.monotonic()
    port = free_port()
    log = (folder / "server.log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-m", "serving", "--task", TASK, "--port", str(port)],
        cwd=folder, env=environment(folder), stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            _wait_ready(client, server)
            _send_days(folder, policy, year, lag, client, found)
    finally:
        server.terminate()
        server.wait(30)
        log.close()
    found.seconds = time.monotonic() - start
    return found


def _send_days(folder: Path, policy: Policy, year: pd.DataFrame, lag: int, client: httpx.Client, found: Replay) -> None:
    names = [c.name for c in catalog.get_task(TASK).columns]
    late: list[tuple[float, list[dict[str, Any]]]] = []
    for number, (day, hours) in enumerate(year.groupby("dteday", sort=True)):
        assert isinstance(day, float)
        date = EPOCH + int(day)
        if number and policy.months and str(date)[8:] == "01" and (int(str(date)[5:7]) - 1) % policy.months == 0:
            _retrain(folder, client, found, day, "--reason", "the calendar")
        rows = [
            {name: str(date) if name == "dteday" else _plain(value) for name, value in zip(names, values, strict=True)}
            for values in hours[names].itertuples(index=False)
        ]
        answer = client.post("/predict", json={"rows": rows}).raise_for_status().json()
        actual = hours["cnt"].to_numpy(np.float64)
        found.errors += [(day, float(e)) for e in (np.asarray(answer["predictions"]) - actual) ** 2]
        pairs = zip(answer["prediction_ids"], actual, strict=True)
        late.append((day + lag, [{"prediction_id": name, "label": float(value)} for name, value in pairs]))
        while late and late[0][0] <= day:
            client.post("/feedback", json={"labels": late.pop(0)[1]}).raise_for_status()
        if policy.alarms and number % 7 == 6:
            verdict = json.loads(run(folder, "-m", "tideline.cli", "monitor", TASK, "--json", accept=(0, 3, 4)).stdout)
            if verdict["status"] == "alarm":
                found.alarms += 1
                _retrain(folder, client, found, day)


def _retrain(folder: Path, client: httpx.Client, found: Replay, day: float, *more: str) -> None:
    start = time.monotonic()
    done = run(folder, "-m", "tideline.cli", "retrain", TASK, "--json", *more, accept=(0, 3, 4, 5))
    outcome = json.loads(done.stdout.strip().splitlines()[-1])
    seconds = time.monotonic() - start
    found.events.append((day, outcome["name"], seconds))
    date = EPOCH + int(day)
    history = (outcome.get("history") or {}).get("reason", "")
    reasons = "; ".join(outcome["reasons"] or outcome["decision"]["reasons"])
    what = f"{outcome['name']} in {seconds:.0f} s: {shorten(reasons, LINE, placeholder=' ...')}"
    print(f"    {date} {what}{f'; history: {history}' if history else ''}", flush=True)
    if outcome["name"] == "promoted":
        version = outcome["verdict"]["version"]
        deadline = time.monotonic() + 30
        while client.get("/model").json()["version"] != version:
            if time.monotonic() > deadline:
                sys.exit(f"the server did not take {version} within 30 s; see {folder}/server.log")
            time.sleep(0.1)


def _wait_ready(client: httpx.Client, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if server.poll() is not None:
            sys.exit(f"the server ended with {server.returncode}")
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.1)
    sys.exit("the server was not ready within a minute")


def _plain(value: Any) -> Any:
    return int(value) if float(value).is_integer() else float(value)
