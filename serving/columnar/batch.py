"""Checked columns of many rows: arrays for the predictor, and for the log each row's features as JSON text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from tideline.contracts import Column

_encoder = msgspec.json.Encoder()


class ColumnBatch(Sequence[str]):
    """Columns (n,) as `Predictor.predict` takes them, and a sequence of n JSON texts: the features of each row.

    A slice is a batch over the same memory. `order` says in which order the texts name the columns.
    """

    __slots__ = ("_n", "_order", "columns")

    def __init__(self, columns: Mapping[str, NDArray[Any]], order: Sequence[Column]) -> None:
        self.columns, self._order = columns, order
        self._n = len(next(iter(columns.values())))

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> ColumnBatch: ...
    def __getitem__(self, index: int | slice) -> str | ColumnBatch:
        if isinstance(index, slice):
            return ColumnBatch({name: values[index] for name, values in self.columns.items()}, self._order)
        (text,) = self[index : index + 1]
        return text

    def __iter__(self) -> Iterator[str]:
        names = [column.name for column in self._order]
        cells = zip(*(_to_plain(column, self.columns[column.name]) for column in self._order), strict=True)
        # One call for all rows; a line break within a text is escaped.
        lines = _encoder.encode_lines([dict(zip(names, row, strict=True)) for row in cells])
        return iter(lines.decode().split("\n")[: self._n])


def _to_plain(column: Column, values: NDArray[Any]) -> list[Any]:
    """One column's values as they are written; a missing one is None or NaN, which both become null."""
    if column.is_text:
        return [text or None for text in values.tolist()]
    if column.kind == "date":
        gone = np.isnan(values)
        days = np.where(gone, 0.0, values).astype("datetime64[D]").astype(str).tolist()
        return [None if lost else day for day, lost in zip(days, gone.tolist(), strict=True)]
    numbers: list[float] = values.tolist()
    return numbers
