"""Training in one process and spread over several: `python -m benchmarks.spread --task housing [--home PROJECT]`.

Fits LightGBM alone and on a Dask cluster of two workers, the torch perceptron alone and in two processes under
torchrun, on a task's prepared features (they stay as they are), and prints cross-validated score and seconds. On one
machine the same cores do the work, so that only the score is of interest; several machines are what it is for.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from tideline.layout import Layout

RUNS: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("lightgbm", "one process", {"compute": "local"}),
    ("lightgbm", "two Dask workers", {"compute": "dask", "workers": 2}),
    ("torch_mlp", "one process", {"processes": 1}),
    ("torch_mlp", "two under torchrun", {"processes": 2}),
)


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.spread", description=__doc__)
    parser.add_argument("--task", default="housing")
    parser.add_argument("--home", type=Path, default=Path(), help="a project whose graph was built")
    arguments = parser.parse_args()
    built = Layout(arguments.task, arguments.home.resolve())
    print(f"{os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}, task {arguments.task}, device cpu")
    for model, name, changes in RUNS:
        with tempfile.TemporaryDirectory() as folder:
            record, seconds = _train(built, model, changes, Path(folder))
        print(f"  {model:10} {name:20} {record['metric']} {record['mean']:,.5g}  {seconds:6.1f} s", flush=True)


def _train(built: Layout, model: str, changes: dict[str, object], root: Path) -> tuple[dict[str, object], float]:
    own = Layout(built.task, root)
    for mine, theirs in (
        (own.split, built.split),
        (own.features, built.features),
        (own.tune(model), built.tune(model)),
    ):
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.symlink_to(theirs)
    params = yaml.safe_load((built.root / "params.yaml").read_text())
    (root / "params.yaml").write_text(yaml.safe_dump({**params, "device": "cpu", **changes}))
    start = time.monotonic()
    command = [sys.executable, "-m", "tideline.cli", "train", built.task, model]
    done = subprocess.run(command, cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(done.stdout)
    record: dict[str, object] = json.loads((own.train(model) / "train.json").read_text())
    return record, time.monotonic() - start


if __name__ == "__main__":
    main()
