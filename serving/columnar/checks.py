"""Columns of a request: checked, counted, and what is wrong with them told where its format has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from serving.columnar.batch import ColumnBatch
from serving.errors import Refusal
from tideline.column_checks import ColumnChecker, WrongCell, WrongColumn
from tideline.contracts import Column


@dataclass(frozen=True, slots=True)
class Places:
    """How a format's errors name a cell and a column: templates of {column} and {row}, and what the whole is."""

    cell: str = "rows[{row}].{column}"
    column: str = "columns.{column}"
    whole: str = "rows"

    def refuse(self, error: WrongCell | WrongColumn) -> Refusal:
        """Refusal (422) that says where."""
        if isinstance(error, WrongCell):
            path = self.cell.format(column=error.column, row=error.row)
        else:
            path = self.column.format(column=error.column)
        return Refusal(422, path, error.message, error.expected)


class ColumnTaker:
    """Makes batches of a request's columns; at most `max_rows` in each."""

    def __init__(self, columns: Sequence[Column], max_rows: int) -> None:
        self._checker, self._max_rows = ColumnChecker(columns), max_rows

    def take(self, given: Mapping[str, NDArray[Any]], places: Places) -> ColumnBatch:
        """The rows of a request; columns as `ColumnChecker.check` takes them. Raises Refusal."""
        try:
            self._checker.check_names(given)
            self._check_count(max(map(len, given.values()), default=0), places)
            return ColumnBatch(self._checker.check(given), self._checker.order)
        except (WrongCell, WrongColumn) as error:
            raise places.refuse(error) from None

    def _check_count(self, n: int, places: Places) -> None:
        expected = {"type": "array", "minItems": 1, "maxItems": self._max_rows}
        if n == 0:
            raise Refusal(422, places.whole, "there are no rows; send at least one", expected)
        if n > self._max_rows:
            message = f"too many rows; send at most {self._max_rows} in a request"
            raise Refusal(422, places.whole, message, expected)
