"""The rows that Evidently sees: a bounded, seeded sample of a window and of the training rows, in one shape."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tideline.bundle import Bundle
from tideline.contracts import Manifest, TidelineError
from tideline.layout import Layout
from tideline.monitor.log import make_batch
from tideline.monitor.records import WindowVerdict
from tideline.monitor.reference import Reference
from tideline.predictor import Predictor, columns_from_frame
from tideline.predlog import Store
from tideline.sketch import sample_columns

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PREDICTION, ERROR, MISSING = "prediction", "absolute error", "share of cells missing"


@dataclass(frozen=True)
class Sampled:
    """frame: the columns, the prediction, its error where it is known, and the share of the row's cells that are
    missing; drawn from `rows` rows. note: what else is to be said of them."""

    frame: pd.DataFrame
    rows: int
    note: str = ""

    def describe(self, what: str) -> str:
        """How much of it the page shows."""
        n = len(self.frame)
        text = f"all {n:,} {what}" if n == self.rows else f"a sample of {n:,} of {self.rows:,} {what}"
        return f"{text} ({self.note})" if self.note else text


def sample_window(bundle: Bundle, store: Store, verdict: WindowVerdict, rows: int, seed: int) -> Sampled:
    """Rows of the window that a verdict is about. Raises TidelineError if it is empty, or its rows are gone."""
    reference, manifest = Reference.of(bundle), bundle.manifest
    window = reference.open_window(seed, rows)
    if verdict.first is not None and verdict.last is not None:
        tables = store.iterate(
            verdict.task, verdict.first, verdict.last + 1, verdict.version, "champion", manifest.columns
        )
        for table in tables:
            window.add(make_batch(table, manifest.columns, bool(manifest.classes)))
    batch = window.sample_rows()
    if batch is None:
        raise TidelineError(f"{store.place} holds no rows of the window of {verdict.task} {verdict.version} to draw")
    errors = np.full(len(batch), np.nan) if batch.errors is None else batch.errors
    answers: NDArray[Any] = batch.answers[PREDICTION]
    return Sampled(make_frame(manifest, batch.columns, answers, errors), window.rows)


def sample_training(bundle: Bundle, layout: Layout, rows: int, seed: int) -> Sampled:
    """Training rows of the champion, and its answers to them: those in data/TASK/split if they are the ones that it was
    trained on, otherwise (a challenger was refused, the champion rolled back, a split is being made) the few hundred
    that travel in its bundle, and the page says so.

    It has seen these rows, so their errors are none to compare with: `absolute error` is the validation's mean instead,
    where the bundle knows it. Read batch by batch. Raises TidelineError if the bundle is broken.
    """
    manifest = bundle.manifest
    table, total = read_split(manifest, layout, rows, seed)
    note = ""
    if table is not None:
        columns = columns_from_frame(manifest, table.to_pandas())
    else:
        sketch = bundle.read_reference()
        columns, total = sample_columns(manifest, sketch), int(sketch["rows"])
        length = len(next(iter(columns.values())))
        chosen = np.sort(np.random.default_rng(seed).choice(length, min(rows, length), replace=False))
        columns = {name: values[chosen] for name, values in columns.items()}
        note = f"from the bundle: data/{layout.task}/split does not hold what this version was trained on"
    found = Predictor(bundle).predict(columns)
    answers: NDArray[Any] = np.asarray(found.classes if manifest.classes else found.values)
    error = Reference.of(bundle).error
    typical = np.full(len(answers), np.nan if error is None else error[1])
    return Sampled(make_frame(manifest, columns, answers, typical), total, note)


def read_split(manifest: Manifest, layout: Layout, rows: int, seed: int) -> tuple[pa.Table | None, int]:
    """A seeded sample of the training rows in data/TASK/split, and of how many; None if the version was trained on
    others, or they are not there or change while they are read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if _read_hash(layout) != manifest.hashes.get("split"):
            return None, 0
        with pq.ParquetFile(layout.split / "train.parquet") as file:
            total = file.metadata.num_rows
            chosen = np.sort(np.random.default_rng(seed).choice(total, min(rows, total), replace=False))
            parts, start = [], 0
            for batch in file.iter_batches(65_536, columns=[column.name for column in manifest.columns]):
                stop = start + batch.num_rows
                inside = chosen[(chosen >= start) & (chosen < stop)] - start
                parts.append(pa.Table.from_batches([batch]).take(inside))
                start = stop
        if _read_hash(layout) != manifest.hashes.get("split"):
            return None, 0
    except (OSError, ValueError):  # gone, or half written (Arrow's errors are ValueErrors): the stage `split` is at it
        return None, 0
    return pa.concat_tables(parts), total


def _read_hash(layout: Layout) -> str:
    """Raises OSError, ValueError."""
    evidence = json.loads((layout.split / "split.json").read_bytes())
    return str(evidence["hash"])


def make_frame(manifest: Manifest, columns: Any, answers: NDArray[Any], errors: NDArray[np.float64]) -> pd.DataFrame:
    """Columns as `Predictor.predict` takes them -> a frame; a missing text is null, a date a number."""
    import pandas as pd

    table: dict[str, Any] = {}
    for column in manifest.columns:
        values = columns[column.name]
        if column.is_text:
            table[column.name] = pd.Series([v or None for v in values.tolist()], dtype=object)
        else:
            table[column.name] = np.asarray(values, dtype=np.float64)
    frame = pd.DataFrame(table)
    missing = frame.isna().mean(axis=1)
    answered = [str(v) for v in answers.tolist()] if manifest.classes else np.asarray(answers, dtype=np.float64)
    return frame.assign(**{PREDICTION: answered, ERROR: errors, MISSING: missing})
