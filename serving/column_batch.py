"""Checked columns of many rows: arrays for the predictor, and for the log each row's features as JSON text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from tideline.contracts import Column

_encode = msgspec.json.Encoder().encode


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
        # A column at a time: each is encoded by one call, and a row is put together from the pieces.
        names = (_encode(column.name).decode().replace("%", "%%") for column in self._order)
        template = "{" + ",".join(f"{name}:%s" for name in names) + "}"
        pieces = (_write(column, self.columns[column.name]) for column in self._order)
        return map(template.__mod__, zip(*pieces, strict=True))


def _write(column: Column, values: NDArray[Any]) -> list[str]:
    """One column's values as JSON texts; a missing one is null."""
    if column.is_text:
        texts = {text: _encode(text).decode() if text else "null" for text in set(values.tolist())}
        return [texts[text] for text in values.tolist()]
    if column.kind == "date":
        gone = np.isnan(values)
        days = np.where(gone, 0.0, values).astype("datetime64[D]").astype(str).tolist()
        return ["null" if lost else f'"{day}"' for day, lost in zip(days, gone.tolist(), strict=True)]
    return _encode(values.tolist())[1:-1].decode().split(",")  # NaN is written as null
