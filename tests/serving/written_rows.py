"""How generated rows are written as CSV and as Arrow: schemathesis asks for it by media type."""

from __future__ import annotations

import csv
import io
from typing import Any

import pyarrow as pa
import schemathesis

from tests.serving.small_bundle import COLUMNS, ROW

TEXTS = {c.name for c in COLUMNS if c.is_text or c.kind == "date"}


@schemathesis.serializer("text/csv")
def write_csv(context: Any, value: Any) -> bytes:
    """Rows as CSV; what is no rows as it is."""
    try:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(ROW))
        writer.writeheader()
        writer.writerows(value)
        return text.getvalue().encode()
    except (TypeError, ValueError, AttributeError):
        return str(value).encode(errors="replace")


@schemathesis.serializer("application/vnd.apache.arrow.stream")
def write_arrow(context: Any, value: Any) -> bytes:
    """Rows as an Arrow stream; what is no rows as it is."""
    try:
        names = [name for name in ROW if any(name in row for row in value)]
        columns = {name: [row.get(name) for row in value] for name in names}
        for name in set(names) - TEXTS:
            columns[name] = [None if value is None else float(value) for value in columns[name]]
        table = pa.table(columns)
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue()
    except (TypeError, ValueError, AttributeError, OverflowError, pa.ArrowException):
        return str(value).encode(errors="replace")
