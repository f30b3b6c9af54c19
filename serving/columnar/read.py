"""Arrow streams and CSV files as raw columns. Import on first use: pyarrow takes a moment."""

from __future__ import annotations

import csv as header
import io
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
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
UNKNOWN_COLUMNS = 16  # more than the model's: fewer are worth a word about each, more cost pyarrow time
NAMES_BYTES = 65_536  # that a CSV file's line of names may take besides four times the model's own
REPEATED = 32  # how much larger than the body its texts may be when they are written out for each row


def read_arrow(body: bytes, columns: Mapping[str, Column], max_rows: int) -> dict[str, NDArray[Any]]:
    """Columns of an Arrow IPC stream, as `ColumnChecker` takes them. Null, NaN and "" are missing values.

    Raises Refusal: 400 if it is no stream, 422 for a column of a type that cannot hold what it should.
    """
    try:
        _check_rows(count_rows(body), max_rows)
        with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
            _check_names(reader.schema.names, columns)
            table = reader.read_all()
        table.validate(full=True)  # offsets that lead out of their buffer
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


def read_csv(body: bytes, columns: Mapping[str, Column], max_rows: int) -> dict[str, NDArray[Any]]:
    """Columns of a CSV file (RFC 4180, UTF-8, the first line names them). An empty field is a missing value.

    Raises Refusal: 400 if it is no CSV, 422 for a field that is no number, by row and column.
    """
    body = body.removeprefix(BOM_UTF8).lstrip(b"\r\n")
    try:
        names = _read_names(body, columns)
        _check_names(names, columns)
        read = csv.ReadOptions(
            use_threads=False, block_size=max(len(body), 1 << 16), column_names=names, skip_rows_after_names=1
        )
        parse = csv.ParseOptions(newlines_in_values=True)
        texts = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
        table = csv.read_csv(pa.py_buffer(body), read, parse, texts)
    except (pa.ArrowException, ValueError, header.Error) as error:
        message = f"the body is no CSV in UTF-8 with a line of names first ({_cut(error)})"
        raise Refusal(400, "body", message, CSV) from None
    _check_rows(table.num_rows, max_rows)
    try:
        found = {name: from_texts(columns[name], join_chunks(table.column(name))) for name in names if name in columns}
    except WrongCell as error:
        raise PLACES.refuse(error) from None
    return {name: found.get(name, _EMPTY) for name in names}


def _read_names(body: bytes, columns: Mapping[str, Column]) -> list[str]:
    """The first line, which pyarrow is told then: its time grows with the square of how many names it finds."""
    limit = NAMES_BYTES + 4 * sum(len(name.encode()) + 3 for name in columns)
    lines = io.StringIO(body[:limit].decode(errors="replace"), newline="")
    names = next(header.reader(lines), None)
    if len(body) > limit and not lines.readline():
        raise ValueError(f"it takes more than {limit} bytes")
    if names is None:
        raise ValueError("it is empty")
    return names


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


def _check_rows(n: int, max_rows: int) -> None:
    if n > max_rows:
        raise Refusal(422, "rows", f"too many rows; send at most {max_rows} in a request", {"maxItems": max_rows})


def _check_names(names: Sequence[str], columns: Mapping[str, Column]) -> None:
    if len(names) > len(columns) + UNKNOWN_COLUMNS:
        message = f"{len(names):,} columns, the model knows {len(columns):,}; send those alone"
        raise Refusal(422, "columns", message, sorted(columns))
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise Refusal(422, PLACES.column.format(column=name[:60]), f"the column {name[:60]!r} comes twice")
        seen.add(name)


def _cut(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."
