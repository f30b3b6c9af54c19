"""Arrow streams and CSV files as raw columns. Import on first use: pyarrow takes a moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from serving.columnar.arrow_guard import count_rows
from serving.columnar.checks import Places
from serving.columnar.media import ARROW, CSV
from serving.errors import Refusal
from tideline.arrow_columns import from_array, from_texts, is_text, join_chunks
from tideline.column_checks import WrongCell, WrongColumn
from tideline.contracts import Column

PLACES = Places()
REPEATED = 32  # how much larger than the body its texts may be when they are written out for each row


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
        arrays = {name: join_chunks(table.column(name)) for name in known}
        for name, array in arrays.items():
            _check_size(name, array, len(body))
        found = {name: from_array(columns[name], array) for name, array in arrays.items()}
    except (WrongCell, WrongColumn) as error:
        raise PLACES.refuse(error) from None
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
    try:
        found = {name: from_texts(columns[name], join_chunks(table.column(name))) for name in names if name in columns}
    except WrongCell as error:
        raise PLACES.refuse(error) from None
    return {name: found.get(name, _EMPTY) for name in names}


_EMPTY = np.empty(0)


def _check_size(name: str, array: pa.Array, size: int) -> None:
    """A text that stands in a body of `size` bytes once may not fill the memory. Raises Refusal (413)."""
    unpacked = 0
    if pa.types.is_dictionary(array.type) and is_text(array.type.value_type):
        lengths = pc.take(pc.binary_length(pc.cast(array.dictionary, pa.string())), array.indices)
        unpacked = pc.sum(lengths).as_py() or 0
    elif pa.types.is_string_view(array.type):
        views = np.frombuffer(array.buffers()[1], np.int32, 4 * len(array), 16 * array.offset)
        unpacked = int(views[::4].sum(dtype=np.int64))  # a view begins with its length
    if unpacked > REPEATED * size:
        message = f"its texts are more than {REPEATED} times as large as the body when unpacked; send fewer rows"
        raise Refusal(413, PLACES.column.format(column=name), message, {"bytes": REPEATED * size})


def _refuse_twice(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise Refusal(422, PLACES.column.format(column=name[:60]), f"the column {name[:60]!r} comes twice")


def _cut(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."
