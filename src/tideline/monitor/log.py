"""A window of the prediction log, read as a stream of tables and counted as it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tideline.contracts import Column
from tideline.monitor.reference import CLASS, CONFIDENCE, VALUE, Reference
from tideline.monitor.window import Batch, Window
from tideline.predlog import Store

if TYPE_CHECKING:
    import pyarrow as pa

_probabilities: msgspec.json.Decoder[dict[str, float]] = msgspec.json.Decoder(dict[str, float])
_intervals: msgspec.json.Decoder[dict[str, list[Any]]] = msgspec.json.Decoder(dict[str, list[Any]])


def read_window(
    store: Store,
    reference: Reference,
    version: str,
    since: int | None,
    until: int | None,
    seed: int,
    progress: Callable[[int], object] = lambda rows: None,
    labelled: bool = False,
) -> Window:
    """Count the predictions that a version made as champion from `since` (included) to `until` (excluded), µs since
    1970-01-01 UTC; with `labelled` only those that have a label. Raises StoreUnavailable, or TidelineError if a row
    does not fit the manifest's columns."""
    window = reference.open_window(seed)
    columns = reference.manifest.columns
    tables = store.iterate(reference.manifest.task, since, until, version, "champion", columns, labelled)
    for table in tables:
        window.add(make_batch(table, columns, bool(reference.manifest.classes)))
        progress(table.num_rows)
    return window


def make_batch(table: pa.Table, columns: tuple[Column, ...], has_classes: bool) -> Batch:
    """A table of `Store.iterate` as arrays."""
    times = table["time"].cast("int64").to_numpy()
    label_times = table["label_time"].cast("int64").to_numpy()  # NaN without a label
    answers: dict[str, NDArray[np.generic]] = {}
    if has_classes:
        answers[CLASS] = _to_text(table["predicted_class"])
        texts = table["probabilities"].to_pylist()
        best = (max(_probabilities.decode(text).values()) if text else np.nan for text in texts)
        answers[CONFIDENCE] = np.fromiter(best, np.float64, len(texts))
    else:
        answers[VALUE] = table["prediction"].to_numpy()
    return Batch(
        {c.name: _to_column(c, table[f"features.{c.name}"]) for c in columns},
        answers,
        table["absolute_error"].to_numpy(),
        _find_inside(table),
        (label_times - times) / 1e6,
        np.array(table["prediction_id"].to_pylist(), dtype=object),
        (int(times.min()), int(times.max())),
    )


def _to_column(column: Column, values: pa.ChunkedArray) -> NDArray[np.generic]:
    if column.is_text:
        return _to_text(values)
    if column.kind == "date":
        values = values.cast("int32")
    return np.asarray(values.to_numpy(), dtype=np.float64)  # null is NaN


def _to_text(values: pa.ChunkedArray) -> NDArray[np.generic]:
    return np.array(["" if v is None else v for v in values.to_pylist()], dtype=object)


def _find_inside(table: pa.Table) -> dict[str, NDArray[np.float64]]:
    """level -> (n,): 1 where the label is inside, 0 where it is not, NaN where there is none."""
    rows = table.num_rows
    inside: dict[str, NDArray[np.float64]] = {}
    numbers, classes = table["label"].to_pylist(), table["label_class"].to_pylist()
    for row, text in enumerate(table["intervals"].to_pylist()):
        number, name = numbers[row], classes[row]
        if not text or (number is None and name is None):
            continue
        for level, bounds in _intervals.decode(text).items():
            hit = name in bounds if number is None else bounds[0] <= number <= bounds[1]
            inside.setdefault(level, np.full(rows, np.nan))[row] = hit
    return inside
