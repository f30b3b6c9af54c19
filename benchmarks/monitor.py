"""What a verdict costs, how often quiet windows raise an alarm, and how soon each drift is seen.

Run: python -m benchmarks.monitor [--home FOLDER --task housing] [--rows 1000000]

Cost: a million rows of 20 columns as arrays, in chunks of 10,000 as the log gives them, and reading such rows from a
log. Alarms: 100 windows of 500 rows in a row from the simulator against a reference of simulated rows, and, with
--home, from the holdout against the champion's own reference. Scenarios: the simulator's, windows of 500 rows.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tideline import catalog
from tideline.bundle import load_bundle
from tideline.champion import champion_bundle
from tideline.contracts import Column, Manifest
from tideline.layout import Layout
from tideline.monitor.judge import judge_window
from tideline.monitor.log import read_window
from tideline.monitor.records import WindowVerdict
from tideline.monitor.reference import Reference
from tideline.monitor.window import Batch
from tideline.params import load_params
from tideline.predictor import Predictor, columns_from_frame
from tideline.predlog import Record, mint_ids, open_store
from tideline.simulator import SCENARIOS, make_frame
from tideline.sketch import sketch_column, sketch_numbers

SETTINGS = replace(load_params().monitoring, tests=catalog.names("drift"))
CHUNK, WINDOW, WINDOWS, LOG_ROWS = 10_000, 500, 100, 50_000
NUMBERS, CATEGORIES, SECOND = 16, 4, 1_000_000
Columns = Mapping[str, NDArray[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="a project with a champion and its holdout")
    parser.add_argument("--task", default="housing")
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    measure_cost(arguments.rows)
    measure_log(LOG_ROWS)
    print_alarms("simulator", *simulate_windows())
    if arguments.home:
        print_alarms(f"{arguments.task}, real champion", *replay_holdout(Layout(arguments.task, arguments.home)))
    print_scenarios()


def make_table(rows: int, seed: int) -> Columns:
    """16 columns of numbers, 4 of texts."""
    random = np.random.default_rng(seed)
    names = np.array([f"kind {i}" for i in range(12)], dtype=object)
    return {f"number {i}": random.lognormal(3.0, 0.2 + i / 10, rows) for i in range(NUMBERS)} | {
        f"text {i}": names[random.integers(0, 12, rows)] for i in range(CATEGORIES)
    }


def make_reference(
    columns: tuple[Column, ...], table: Columns, predicted: NDArray[np.float64], **more: Any
) -> Reference:
    target = Column("target", "number")
    manifest = Manifest("bench", "", "regression", "law", "", columns, target, (), None, {}, {}, {}, (), {}, {})
    sketch = {"columns": {c.name: sketch_column(c, table[c.name]) for c in columns}}
    return Reference.from_sketch(manifest, {**sketch, "prediction": sketch_numbers(predicted)})


def wide_columns() -> tuple[Column, ...]:
    return tuple(Column(f"number {i}", "number") for i in range(NUMBERS)) + tuple(
        Column(f"text {i}", "category") for i in range(CATEGORIES)
    )


def measure_cost(rows: int) -> None:
    """Seconds and memory of one verdict on arrays, all tests on."""
    columns = wide_columns()
    reference = make_reference(columns, make_table(20_000, 0), np.random.default_rng(0).normal(size=20_000))
    table, predicted = make_table(rows, 1), np.random.default_rng(1).normal(size=rows)
    held = peak()
    start, busy = time.perf_counter(), time.process_time()
    window = reference.open_window(seed=1)
    for at in range(0, rows, CHUNK):
        part = slice(at, at + CHUNK)
        window.add(Batch({k: v[part] for k, v in table.items()}, {"prediction": predicted[part]}))
    verdict = judge_window(reference, window, SETTINGS, "v", 0)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    print(f"verdict on {rows:,} rows x {len(columns)} columns, {len(verdict.checks)} checks:", end=" ")
    print(f"{seconds:.2f} s ({busy:.2f} s of CPU), peak {peak():,.0f} MiB, {held:,.0f} MiB of it the arrays before")


def measure_log(rows: int) -> None:
    """What it takes to read the same 20 columns from a SQLite log."""
    columns = wide_columns()
    table = make_table(rows, 1)
    reference = make_reference(columns, table, np.random.default_rng(0).normal(size=rows))
    listed = {name: values.tolist() for name, values in table.items()}
    with tempfile.TemporaryDirectory() as folder, open_store(f"sqlite:///{folder}/log.db") as store:
        for at in range(0, rows, CHUNK):
            ids = mint_ids(min(CHUNK, rows - at))
            features = [{k: v[at + i] for k, v in listed.items()} for i in range(len(ids))]
            rows_of = zip(ids, features, strict=True)
            store.append([
                Record(name, "r", (at + i) * SECOND, "bench", "v", "champion", row, 0.5)
                for i, (name, row) in enumerate(rows_of)
            ])  # fmt: skip
        start = time.perf_counter()
        window = read_window(store, reference, "v", None, None, seed=1)
        seconds = time.perf_counter() - start
    print(f"reading and counting {window.rows:,} such rows of a log: {seconds:.1f} s, {rows / seconds:,.0f} rows/s")


def peak() -> float:
    """Largest memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def judge_in_order(reference: Reference, windows: Iterator[Batch] | Sequence[Batch]) -> list[WindowVerdict]:
    verdicts: list[WindowVerdict] = []
    for number, batch in enumerate(windows):
        window, start = reference.open_window(seed=1), number * 10_000 * SECOND
        window.add(replace(batch, times=(start, start + len(batch) * SECOND)))
        verdicts.append(judge_window(reference, window, SETTINGS, "v", start, verdicts[-10:]))
    return verdicts


def simulated_reference() -> Reference:
    task = catalog.get_task("housing")
    columns = columns_from_frame(task, make_frame(16_512, seed=42))
    return make_reference(task.columns, columns, answer(columns))


def answer(columns: Columns) -> NDArray[np.float64]:
    """A plain law in place of a model: what matters is that it depends on the columns."""
    return np.asarray(45_000 * columns["median_income"] - 60_000.0 * (columns["ocean_proximity"] == "INLAND"))


def cut(frame: Any) -> Iterator[Batch]:
    task = catalog.get_task("housing")
    for at in range(0, len(frame), WINDOW):
        columns = columns_from_frame(task, frame.iloc[at : at + WINDOW])
        yield Batch(columns, {"prediction": answer(columns)})


def simulate_windows() -> tuple[Reference, Iterator[Batch]]:
    return simulated_reference(), cut(make_frame(WINDOWS * WINDOW, seed=7))


def replay_holdout(layout: Layout) -> tuple[Reference, list[Batch]]:
    """Rows drawn from the holdout, each window without repetition, answered by the champion, with their labels."""
    import pandas as pd

    bundle = load_bundle(champion_bundle(layout))
    frame = pd.read_parquet(layout.split / "test.parquet")
    columns = columns_from_frame(bundle.manifest, frame)
    predicted = Predictor(bundle).predict(columns).values
    errors = np.abs(predicted - frame[bundle.manifest.target.name].to_numpy(np.float64))
    random = np.random.default_rng(3)
    drawn = [random.choice(len(frame), WINDOW, replace=False) for _ in range(WINDOWS)]
    batches = [Batch({k: v[i] for k, v in columns.items()}, {"prediction": predicted[i]}, errors[i]) for i in drawn]
    return Reference.of(bundle), batches


def print_alarms(name: str, reference: Reference, windows: Iterator[Batch] | Sequence[Batch]) -> None:
    verdicts = judge_in_order(reference, windows)
    alarms, breached = (sum(v.status in states for v in verdicts) for states in (("alarm",), ("alarm", "watch")))
    print(f"quiet replay of {len(verdicts)} windows of {WINDOW} rows ({name}): {alarms} alarms, {breached} breached")


def print_scenarios(repeats: int = 10) -> None:
    reference = simulated_reference()
    print(f"scenarios, {repeats} runs of {SETTINGS.persist} windows of {WINDOW} rows:")
    for scenario in sorted(set(SCENARIOS) - {"none"}):
        flagged = at_once = in_time = 0
        seen: dict[str, int] = {}
        for seed in range(repeats):
            verdicts = judge_in_order(reference, cut(make_frame(SETTINGS.persist * WINDOW, seed, scenario)))
            flagged += bool(verdicts[0].breaches)
            at_once += verdicts[0].status == "alarm"
            in_time += verdicts[-1].status == "alarm"
            for subject in {c.subject for c in verdicts[0].breaches}:
                seen[subject] = seen.get(subject, 0) + 1
        top = ", ".join(f"{k} ({v})" for k, v in sorted(seen.items(), key=lambda item: -item[1])[:4])
        print(f"  {scenario:14} first window: flagged {flagged}/{repeats}, alarm {at_once}/{repeats}; "
              f"last: alarm {in_time}/{repeats}; {top}")  # fmt: skip


if __name__ == "__main__":
    main()
