"""What a verdict on a million rows holds at most."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.peak_memory import PEAK

ROOT = Path(__file__).resolve().parents[1]
ROWS, LIMIT = 1_000_000, 1_000_000  # kilobytes
JUDGE = f"""{PEAK}
from benchmarks.monitor import SETTINGS, make_reference, make_table, wide_columns
import numpy as np
from tideline.monitor.judge import judge_window
from tideline.monitor.window import Batch

columns = wide_columns()
reference = make_reference(columns, make_table(20_000, 0), np.random.default_rng(0).normal(size=20_000))
table, predicted = make_table({ROWS}, 1), np.random.default_rng(1).normal(size={ROWS})
window = reference.open_window(seed=1)
for at in range(0, {ROWS}, 10_000):
    part = slice(at, at + 10_000)
    window.add(Batch({{k: v[part] for k, v in table.items()}}, {{"prediction": predicted[part]}}))
verdict = judge_window(reference, window, SETTINGS, "v", 0)
print(len(columns), verdict.rows, verdict.status, peak())
"""


@pytest.mark.slow
def test_verdict_on_a_million_rows_of_twenty_columns_stays_below_a_gigabyte() -> None:
    """With the rows themselves in memory, all tests on."""
    done = subprocess.run([sys.executable, "-c", JUDGE], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    columns, rows, status, peak = done.stdout.split()
    assert (columns, rows, status) == ("20", str(ROWS), "quiet")
    assert int(peak) < LIMIT
