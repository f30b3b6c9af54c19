"""Answers as an Arrow stream or a CSV file. Import on first use: pyarrow takes a moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
from pyarrow import csv

from serving.answers import Answers
from tideline.prediction_table import flatten_lists, tabulate


def write_arrow(answers: Answers, names: Sequence[str], ids: Sequence[str] | None, model: Mapping[str, str]) -> bytes:
    """An Arrow IPC stream; its schema's metadata says which `model` (task, name, version) answered."""
    table = tabulate(answers.to_prediction(names), ids, model)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def write_csv(answers: Answers, names: Sequence[str], ids: Sequence[str] | None) -> bytes:
    """The same columns as CSV with a line of names; sets of classes are JSON lists."""
    sink = pa.BufferOutputStream()
    csv.write_csv(flatten_lists(tabulate(answers.to_prediction(names), ids)), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content
