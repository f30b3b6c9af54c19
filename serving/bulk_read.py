"""Arrow streams and CSV files as raw columns. Import on first use: pyarrow takes a moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from serving.arrow_guard import count_rows
from serving.column_checks import Places, refuse_cell
from serving.columns import describe_schema, describe_words
from serving.errors import Refusal
from serving.media import ARROW, CSV
from tideline.contracts import Column
from tideline.prediction_table import make_texts

PLACES = Places()
REPEATED = 32  # how much larger than the body its texts may be when they are written out for each row
# Made of buffers: pyarrow.scalar and Array.to_numpy would load pandas where it is installed.
_NAN = pa.Array.from_buffers(pa.float64(), 1, [None, pa.py_buffer(np.array([np.nan]))])[0]
_EMPTY_TEXT, _NO_TEXT = make_texts([""])[0], pa.nulls(1, pa.string())[0]


def read_arrow(body: bytes, columns: Mapping[str, Column], max_rows: int) -> dict[str, NDArray[Any]]:
    """Columns of an Arrow IPC stream, as `ColumnChecker` takes them. Null, NaN and "" are missing values.

    Raises Refusal: 400 if it is no stream, 422 for a column of a type that cannot hold what it should.
    """
    try:
        if count_rows(body) > max_rows:
            raise Refusal(422, "rows", f"too many rows; send at most {max_rows} in a request", {"maxItems": max_rows})
        with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
            table = reader.read_all()
        table.validate(full=True)  # offsets that lead out of their buffer
        _refuse_twice(table.column_names)
        known = [name for name in table.column_names if name in columns]
        found = {name: _from_array(columns[name], _join(table.column(name)), len(body)) for name in known}
    except (pa.ArrowException, ValueError, OverflowError, OSError) as error:
        raise Refusal(400, "body", f"the body is no Arrow IPC stream ({_cut(error)})", ARROW) from None
    return {name: found.get(name, _EMPTY) for name in table.column_names}  # the checker names what is unknown


def read_csv(body: bytes, columns: Mapping[str, Column]) -> dict[str, NDArray[Any]]:
    """Columns of a CSV file (RFC 4180, UTF-8, the first line names them). An empty field is a missing value.

    Raises Refusal: 400 if it is no CSV, 422 for a field that is no number, by row and column.
    """
    read = csv.ReadOptions(use_threads=False, block_size=max(len(body), 1 << 16))
    parse = csv.ParseOptions(newlines_in_values=True)
    texts = csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False)
    try:
        table = csv.read_csv(pa.py_buffer(body), read, parse, texts)
        names: list[str] = table.column_names
    except (pa.ArrowException, ValueError) as error:
        message = f"the body is no CSV in UTF-8 with a line of names first ({_cut(error)})"
        raise Refusal(400, "body", message, CSV) from None
    _refuse_twice(names)
    found = {name: _from_texts(columns[name], _join(table.column(name))) for name in names if name in columns}
    return {name: found.get(name, _EMPTY) for name in names}


_EMPTY = np.empty(0)


def _from_array(column: Column, array: pa.Array, size: int) -> NDArray[Any]:
    """`size` is that of the body, in bytes: a text that stands in it once may not fill the memory."""
    if pa.types.is_dictionary(array.type):
        if _is_text(array.type.value_type):
            lengths = pc.take(pc.binary_length(pc.cast(array.dictionary, pa.string())), array.indices)
            _check_size(column, pc.sum(lengths).as_py() or 0, size)
        array = array.dictionary_decode()
    elif pa.types.is_string_view(array.type):
        views = np.frombuffer(array.buffers()[1], np.int32, 4 * len(array), 16 * array.offset)
        _check_size(column, int(views[::4].sum(dtype=np.int64)), size)  # a view begins with its length
    kind = array.type
    is_text = _is_text(kind)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if column.kind == "category":
        if is_text or pa.types.is_null(kind):
            return _to_objects(array)
    elif column.kind == "date":
        if is_text:
            return _to_objects(array)
        if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
            return _to_days(column, array)
    elif is_number or pa.types.is_null(kind):
        return _to_floats(array)
    message = f"expected {describe_words(column)}, got a column of Arrow's type {kind}"
    raise Refusal(422, PLACES.column.format(column=column.name), message, describe_schema(column))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _check_size(column: Column, unpacked: int, size: int) -> None:
    if unpacked > REPEATED * size:
        message = f"its texts are more than {REPEATED} times as large as the body when unpacked; send fewer rows"
        raise Refusal(413, PLACES.column.format(column=column.name), message, {"bytes": REPEATED * size})


def _from_texts(column: Column, array: pa.Array) -> NDArray[Any]:
    if column.kind in ("category", "date"):
        return _to_objects(array)
    array = pc.if_else(pc.equal(array, _EMPTY_TEXT), _NO_TEXT, array)
    try:
        return _to_floats(array)
    except pa.ArrowInvalid:
        row = next(i for i in range(len(array)) if not _is_number(array[i]))
        raise refuse_cell(column, row, array[row].as_py(), PLACES) from None


def _is_number(text: pa.Scalar) -> bool:
    try:
        pc.cast(text, pa.float64())
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
            raise refuse_cell(column, row, pc.cast(local, pa.string())[row].as_py(), PLACES)
        array = days
    return _to_floats(pc.cast(pc.cast(array, pa.date32()), pa.int32()))


def _view(array: pa.Array, dtype: Any) -> NDArray[Any]:
    """The memory of a fixed-width array without nulls."""
    kind = np.dtype(dtype)
    if not len(array):
        return np.empty(0, kind)
    return np.frombuffer(array.buffers()[1], kind, len(array), kind.itemsize * array.offset)


def _join(column: pa.ChunkedArray) -> pa.Array:
    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks)


def _refuse_twice(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise Refusal(422, PLACES.column.format(column=name[:60]), f"the column {name[:60]!r} comes twice")


def _cut(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."
