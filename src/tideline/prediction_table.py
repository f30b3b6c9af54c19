"""Predictions as Arrow columns: what bulk answers and scored files hold beside the rows.

Arrays are built from numpy's memory: pyarrow.array would look for pandas, which a server does not load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tideline.predictor import Prediction


def tabulate(
    prediction: Prediction, ids: Sequence[str] | None = None, metadata: Mapping[str, str] | None = None
) -> pa.Table:
    """One row a prediction: prediction_id (if there are `ids`), prediction, and

    - regression: lower_<level> and upper_<level>, in the target's unit;
    - classification: probability_<class>, and set_<level>, the list of classes that the truth lies among.
    """
    columns: dict[str, Any] = {} if ids is None else {"prediction_id": make_texts(ids)}
    if not prediction.names:
        columns["prediction"] = _make_floats(prediction.values)
        for band in prediction.intervals:
            columns[f"lower_{band.level:g}"] = _make_floats(band.lower)
            columns[f"upper_{band.level:g}"] = _make_floats(band.upper)
    else:
        columns["prediction"] = make_texts(prediction.classes)
        for name, shares in zip(prediction.names, prediction.probabilities.T, strict=True):
            columns[f"probability_{name}"] = _make_floats(shares)
        for chosen in prediction.sets:
            columns[f"set_{chosen.level:g}"] = _make_lists(prediction.names, chosen.members)
    return pa.Table.from_arrays(list(columns.values()), names=list(columns), metadata=metadata)


def flatten_lists(table: pa.Table) -> pa.Table:
    """The table with its lists as JSON text, for formats that know no lists."""
    for number, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            texts = [msgspec.json.encode(value).decode() for value in table.column(number).to_pylist()]
            table = table.set_column(number, field.name, make_texts(texts))
    return table


def make_texts(texts: Iterable[str]) -> pa.Array:
    """Strings (n,), none of them missing."""
    encoded = [text.encode() for text in texts]
    offsets = _make_offsets([len(text) for text in encoded])
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))


def _make_floats(values: NDArray[np.float64]) -> pa.Array:
    return pa.Array.from_buffers(pa.float64(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def _make_lists(names: Sequence[str], members: NDArray[np.bool_]) -> pa.Array:
    offsets = _make_offsets(members.sum(axis=1))
    chosen = make_texts(names[code] for code in np.nonzero(members)[1].tolist())
    return pa.ListArray.from_arrays(
        pa.Array.from_buffers(pa.int32(), len(offsets), [None, pa.py_buffer(offsets)]), chosen
    )


def _make_offsets(lengths: Sequence[int] | NDArray[Any]) -> NDArray[np.int32]:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
