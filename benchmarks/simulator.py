"""What the simulator costs: rows a second and the largest memory, for a file of 10 million rows.

Run: python benchmarks/simulator.py [ROWS]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

from tideline.simulator import simulate


def main(rows: int) -> None:
    """Print one row of a table a size, each measured after the one before it (memory is the process's peak so far)."""
    print(f"{'rows':>12}  {'seconds':>8}  {'rows/s':>10}  {'peak MiB':>9}  {'file MiB':>9}")
    for count in sorted({min(100_000, rows), min(1_000_000, rows), rows}):
        with tempfile.TemporaryDirectory() as folder:
            path, start = Path(folder) / "simulated.parquet", time.perf_counter()
            simulate("housing", count, 42, "none", path)
            seconds = time.perf_counter() - start
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**10 if sys.platform != "darwin" else 2**20)
            size = path.stat().st_size / 2**20
        print(f"{count:>12,}  {seconds:>8.1f}  {count / seconds:>10,.0f}  {peak:>9.0f}  {size:>9.1f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1].replace("_", "")) if len(sys.argv) > 1 else 10_000_000)
