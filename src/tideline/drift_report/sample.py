"""The rows that Evidently sees: a bounded, seeded sample of a window and of the training rows, in one shape."""

from __future__ import annotations

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

if TYPE_CHECKING:
    import pandas as pd

PREDICTION, ERROR, MISSING = "prediction", "absolute error", "share of cells missing"


@dataclass(frozen=True)
class Sampled:
    """frame: the columns, the prediction, its error where it is known, and the share of the row's cells that are
    missing; drawn from `rows` rows."""

    frame: pd.DataFrame
    rows: int

    def describe(self, what: str) -> str:
        """How much of it the page shows."""
        n = len(self.frame)
        return f"all {n:,} {what}" if n == self.rows else f"a sample of {n:,} of {self.rows:,} {what}"


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
    """Training rows as they lie in data/TASK/split, and the champion's answers to them.

    It has seen these rows, so their errors are none to compare with: `absolute error` is the validation's mean instead,
    where the bundle knows it. Read batch by batch. Raises TidelineError if there are none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = layout.split / "train.parquet"
    if not path.exists():
        raise TidelineError(f"no training rows at {path}; `dvc pull` or `dvc repro split@{layout.task}` brings them")
    with pq.ParquetFile(path) as file:
        total = file.metadata.num_rows
        chosen = np.sort(np.random.default_rng(seed).choice(total, min(rows, total), replace=False))
        parts, start = [], 0
        names = [column.name for column in bundle.manifest.columns]
        for batch in file.iter_batches(65_536, columns=names):
            stop = start + batch.num_rows
            inside = chosen[(chosen >= start) & (chosen < stop)] - start
            parts.append(pa.Table.from_batches([batch]).take(inside))
            start = stop
    columns = columns_from_frame(bundle.manifest, pa.concat_tables(parts).to_pandas())
    found = Predictor(bundle).predict(columns)
    answers: NDArray[Any] = np.asarray(found.classes if bundle.manifest.classes else found.values)
    error = Reference.of(bundle).error
    typical = np.full(len(chosen), np.nan if error is None else error[1])
    return Sampled(make_frame(bundle.manifest, columns, answers, typical), total)


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
