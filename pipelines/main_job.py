"""The main job of one task: reproduce the graph, promote the bundle, serve it and ask it once.

Run as `python -m pipelines.main_job TASK` (what `make run` does).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

from pipelines.local_server import LocalServer
from tideline import catalog
from tideline.contracts import Task, TidelineError
from tideline.layout import Layout
from tideline.params import load_params
from tideline.progress import say


def main() -> int:
    """Parse the task's name and run the job; errors for a person end as one message."""
    parser = argparse.ArgumentParser(prog="main_job", description=__doc__)
    parser.add_argument("task")
    name = parser.parse_args().task
    try:
        params = load_params()
        task = catalog.get_task(name)
        if name not in params.tasks:
            raise TidelineError(f"task {name!r} is not listed in params.yaml; add it to `tasks`")
        run_job(task)
    except TidelineError as error:
        print(f"\nmake run: {error}", file=sys.stderr)
        return 1
    return 0


def run_job(task: Task) -> None:
    """The job itself, step by step."""
    layout = Layout(task.name)
    start = time.monotonic()
    say(f"tideline: the graph of {task.name} ({task.title})")
    reproduce(f"bundle@{task.name}")
    built = time.monotonic() - start
    promote(task.name)
    metrics = json.loads((layout.reports / "metrics.json").read_text())
    rows = sample_rows(task, layout)
    with LocalServer(task.name) as server:
        answer = server.ask("/predict", {"rows": rows})
        say(f"\nserver    ready in {server.seconds_to_ready:.1f} s on {server.url}")
        say(f"request   POST /predict {json.dumps({'rows': rows})}")
        say(f"answer    {json.dumps(answer)}")
    say("")
    say(summarise(task, layout, metrics, built))


def reproduce(target: str) -> None:
    """`dvc repro TARGET`; a failed stage has said why, so only the way on is added."""
    done = subprocess.run([sys.executable, "-m", "dvc", "repro", target], env={**os.environ, "DVC_NO_ANALYTICS": "1"})
    if done.returncode != 0:
        raise TidelineError(f"the graph stopped (see above); mend the cause and run it again: dvc repro {target}")


def promote(task: str) -> None:
    """Ask the gate. A refusal leaves the champion in place and is no failure of the job."""
    done = subprocess.run([sys.executable, "-m", "tideline.cli", "promote", task])
    if done.returncode != 0:
        status = subprocess.run([sys.executable, "-m", "tideline.cli", "status", task], capture_output=True, text=True)
        if not Layout(task).registry.joinpath("champion.json").exists():
            raise TidelineError("the gate refused the bundle and there is no champion yet to serve")
        say(f"the gate kept the champion:\n{status.stdout}")


def sample_rows(task: Task, layout: Layout) -> list[dict[str, Any]]:
    """The first test row as a person would send it: raw columns, nulls left out, dates as text."""
    import pandas as pd

    frame = pd.read_parquet(layout.split / "test.parquet").head(1)
    row: dict[str, Any] = {}
    for column in task.columns:
        value = frame[column.name].iloc[0]
        if pd.isna(value):
            continue
        if column.kind == "date":
            row[column.name] = str(pd.Timestamp("1970-01-01") + pd.Timedelta(days=float(value)))[:10]
        elif column.kind == "integer":
            row[column.name] = int(value)
        else:
            row[column.name] = str(value) if column.is_text else float(value)
    return [row]


def summarise(task: Task, layout: Layout, metrics: dict[str, Any], built: float) -> str:
    """What was reached, and where everything lies."""
    test = metrics["test"]
    name = "rmse" if task.problem == "regression" else "accuracy"
    low, high = test[f"{name}_ci95"]
    digits = 0 if name == "rmse" and test[name] > 100 else 4
    lines = [
        f"model     {metrics['model']}: test {name} {test[name]:,.{digits}f} {task.target.unit} "
        f"(95 % interval {low:,.{digits}f} to {high:,.{digits}f}, {metrics['n_test']:,} rows)",
        f"graph     {built:.0f} s",
        f"report    {layout.reports / 'report.html'}",
        f"data docs {layout.data_docs / 'index.html'}",
        f"bundle    {layout.bundle}/",
        f"serve it  make serve TASK={task.name} PORT=3000",
    ]
    if metrics["provenance"].get("simulated"):
        lines.insert(0, "NOTE      SIMULATED DATA: these figures say nothing about the real world")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
