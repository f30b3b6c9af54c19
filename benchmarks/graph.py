"""Seconds of the whole graph: cold, no-op, and after one model's file changed. `python -m benchmarks.graph [TASK]`.

Works on a copy of the project in a temporary folder; the data comes from TIDELINE_DATA_DIR.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Print one table."""
    task = sys.argv[1] if len(sys.argv) > 1 else "housing"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        copy_project(copy)
        cold, said = repro(copy, task)
        noop, _ = repro(copy, task)
        changed = copy / "src/tideline/models/decision_tree.py"
        changed.write_text(changed.read_text() + "\n# changed\n")
        one, rerun = repro(copy, task)
        metrics = json.loads((copy / f"reports/{task}/metrics.json").read_text())
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}, {task}")
    print(f"  {'cold graph':34s}{cold:8.1f} s")
    for name, seconds in stage_seconds(said):
        print(f"    {name:32s}{seconds:8.1f} s")
    print(f"  {'no-op dvc repro':34s}{noop:8.1f} s")
    print(f"  {'after a change of decision_tree.py':34s}{one:8.1f} s, ran {', '.join(stages_run(rerun))}")
    test = metrics["test"]
    name = "rmse" if "rmse" in test else "accuracy"
    print(f"  test {name} of {metrics['model']}: {test[name]:.6g}, 95 % interval {test[name + '_ci95']}")


def copy_project(target: Path) -> None:
    """What is under version control or could be, without data and results."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if name == "dvc.lock" or not (ROOT / name).exists():
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    subprocess.run(["git", "init", "-q"], cwd=target, check=True)


def repro(copy: Path, task: str) -> tuple[float, str]:
    """Seconds and output of one `dvc repro`."""
    env = {
        **os.environ,
        "PYTHONPATH": f"{copy / 'src'}{os.pathsep}{copy}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
    }
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", f"bundle@{task}"], cwd=copy, env=env, capture_output=True, text=True
    )
    seconds = time.monotonic() - start
    if done.returncode != 0:
        sys.exit(done.stdout[-4000:] + done.stderr[-4000:])
    return seconds, done.stdout


def stages_run(said: str) -> list[str]:
    """Names of the stages that ran."""
    return re.findall(r"Running stage '([^']+)'", said)


def stage_seconds(said: str) -> list[tuple[str, float]]:
    """(stage, seconds of work) in the order of the run."""
    return [(name, float(seconds)) for name, seconds in re.findall(r"^== (.+): done in ([\d.]+) s", said, re.M)]


if __name__ == "__main__":
    main()
