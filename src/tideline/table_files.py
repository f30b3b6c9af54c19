"""CSV and Parquet files as a stream of Arrow tables, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from tideline.contracts import TidelineError
from tideline.prediction_table import flatten_lists

SUFFIXES = ".csv", ".parquet"
BLOCK_BYTES = 4 << 20  # of a CSV file that are parsed at once


@dataclass(frozen=True)
class TableFile:
    """An open file. All columns of one that `is_text` are strings; an empty field of it is null. `rows` is 0 where only
    reading the file would tell. `read(n)` gives tables of at most n rows, in their order."""

    schema: pa.Schema
    is_text: bool
    rows: int
    read: Callable[[int], Iterator[pa.Table]]

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Open by suffix; a CSV file's first line names its columns. Raises TidelineError that names the file, also
        while it is read."""
        check_suffix(path)
        try:
            if path.suffix == ".parquet":
                with pq.ParquetFile(path) as file:
                    yield cls(file.schema_arrow, False, file.metadata.num_rows, lambda n: _read_parquet(file, n))
            else:
                names = csv.open_csv(path, _READ, _PARSE).schema.names
                kinds = csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
                )
                with csv.open_csv(path, _READ, _PARSE, kinds) as file:
                    yield cls(file.schema, True, 0, lambda n: _read_csv(file, n))
        except FileNotFoundError:
            raise TidelineError(f"no file {path}") from None
        except (pa.ArrowException, UnicodeDecodeError) as error:
            said = " ".join(str(error).split())
            raise TidelineError(f"{path} cannot be read as {path.suffix[1:]}: {said}") from error


class TableSink:
    """Writes tables under a temporary name; `finish` gives the file its own. Without a path it takes nothing.

    What was not finished is removed at the end of the `with` block. Raises TidelineError if it cannot be written.
    """

    def __init__(self, path: Path | None, source: Path) -> None:
        self._path = path
        self._writer: Any = None
        if path is not None:
            check_suffix(path)
            if path.resolve() == source.resolve():
                raise TidelineError(f"{path} is the file that is read; name another one to write")

    def write(self, table: pa.Table) -> None:
        """Append; the first table says what the columns are."""
        if self._path is None:
            return
        with self._explain():
            if self._writer is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._writer = _open_writer(self._part, self._path.suffix, table)
            self._writer.write_table(flatten_lists(table) if self._path.suffix == ".csv" else table)

    def finish(self) -> None:
        """The file is whole."""
        if self._path is not None and self._writer is not None:
            with self._explain():
                self._writer.close()
                self._writer = None
                self._part.replace(self._path)

    @contextmanager
    def _explain(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TidelineError(f"{self._path} cannot be written: {error}; name another place") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._path is not None:
            with suppress(OSError):  # the disk may be full
                if self._writer is not None:
                    self._writer.close()
            self._part.unlink(missing_ok=True)

    @property
    def _part(self) -> Path:
        assert self._path is not None
        return self._path.with_name(self._path.name + ".part")


def check_suffix(path: Path) -> None:
    """Raises TidelineError if the file's name says neither CSV nor Parquet."""
    if path.suffix not in SUFFIXES:
        raise TidelineError(f"{path} is neither .csv nor .parquet by its name; convert or rename it")


_READ = csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES)
_PARSE = csv.ParseOptions(newlines_in_values=True)


def _open_writer(part: Path, suffix: str, table: pa.Table) -> Any:
    if suffix == ".csv":
        return csv.CSVWriter(part, flatten_lists(table).schema)
    return pq.ParquetWriter(part, table.schema, compression="zstd")


def _read_parquet(file: pq.ParquetFile, n: int) -> Iterator[pa.Table]:
    for batch in file.iter_batches(batch_size=n):
        yield pa.Table.from_batches([batch])


def _read_csv(file: csv.CSVStreamingReader, n: int) -> Iterator[pa.Table]:
    for block in file:
        whole = pa.Table.from_batches([block])
        for start in range(0, whole.num_rows, n):
            yield whole.slice(start, n)
