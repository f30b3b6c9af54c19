"""Arrow's arrays as the raw columns that `ColumnChecker` checks: float64 with NaN, or objects (str) with "".

Nothing here loads pandas, which pyarrow.scalar, pyarrow.array and Array.to_numpy do where it is installed: a server has
no use for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tideline.column_checks import WrongCell, WrongColumn
from tideline.column_rules import describe_schema, describe_words
from tideline.contracts import Column
from tideline.prediction_table import make_texts

_NAN = pa.Array.from_buffers(pa.float64(), 1, [None, pa.py_buffer(np.array([np.nan]))])[0]
_EMPTY_TEXT, _NO_TEXT = make_texts([""])[0], pa.nulls(1, pa.string())[0]


def from_array(column: Column, array: pa.Array) -> NDArray[Any]:
    """An Arrow array of any type that can hold the column's values. Raises WrongColumn, WrongCell or ArrowException."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    has_texts = is_text(kind)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if column.kind == "category":
        if has_texts or pa.types.is_null(kind):
            return _to_objects(array)
    elif column.kind == "date":
        if has_texts:
            return _to_objects(array)
        if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
            return _to_days(column, array)
    elif is_number or pa.types.is_null(kind):
        return _to_floats(array)
    message = f"expected {describe_words(column)}, got a column of Arrow's type {kind}"
    raise WrongColumn(column.name, message, describe_schema(column))


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def from_texts(column: Column, array: pa.Array) -> NDArray[Any]:
    """The fields of a CSV file, strings; an empty one is missing. Raises WrongCell."""
    if column.kind in ("category", "date"):
        return _to_objects(array)
    array = pc.if_else(pc.equal(array, _EMPTY_TEXT), _NO_TEXT, array)
    try:
        return _to_floats(array)
    except pa.ArrowInvalid:
        row = _find_no_number(array)
        raise WrongCell(column, row, array[row].as_py()) from None


def _find_no_number(array: pa.Array) -> int:
    """The first text that is no number, of which there is one; by halves, as a cast a row takes seconds."""
    start, stop = 0, len(array)
    while stop - start > 1:
        middle = (start + stop) // 2
        if _are_numbers(array.slice(start, middle - start)):
            start = middle
        else:
            stop = middle
    return start


def _are_numbers(texts: pa.Array) -> bool:
    try:
        pc.cast(texts, pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _to_floats(array: pa.Array) -> NDArray[np.float64]:
    """float64 (n,); null is NaN."""
    return _view(pc.coalesce(pc.cast(array, pa.float64(), safe=False), _NAN), np.float64)


def _to_objects(array: pa.Array) -> NDArray[Any]:
    """Strings (n,); null is "". A text that comes often is one object."""
    coded = pc.coalesce(pc.cast(array, pa.string()), _EMPTY_TEXT).dictionary_encode()
    texts = np.array([*coded.dictionary.to_pylist(), ""], dtype=object)  # of strings even if there are none
    values: NDArray[Any] = texts[_view(coded.indices, np.int32)]
    return values


def _to_days(column: Column, array: pa.Array) -> NDArray[np.float64]:
    """Dates, or moments at midnight (in their own time zone), as days."""
    if pa.types.is_timestamp(array.type):
        local = pc.local_timestamp(array) if array.type.tz else array
        days = pc.floor_temporal(local, unit="day")
        late = _to_floats(pc.cast(pc.subtract(local, days), pa.int64())) > 0
        if late.any():
            row = int(late.argmax())
            raise WrongCell(column, row, pc.cast(local, pa.string())[row].as_py())
        array = days
    return _to_floats(pc.cast(pc.cast(array, pa.date32()), pa.int32()))


def _view(array: pa.Array, dtype: Any) -> NDArray[Any]:
    """The memory of a fixed-width array without nulls."""
    kind = np.dtype(dtype)
    if not len(array):
        return np.empty(0, kind)
    return np.frombuffer(array.buffers()[1], kind, len(array), kind.itemsize * array.offset)


def join_chunks(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    if column.num_chunks == 0:
        return pa.nulls(0, column.type)  # combine_chunks would load pandas for that
    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks)
