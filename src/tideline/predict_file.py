"""Score a file of any size with one bundle: read, check, predict and write a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from tideline.arrow_columns import from_array, from_texts, join_chunks
from tideline.bundle import Bundle
from tideline.column_checks import ColumnChecker, WrongCell, WrongColumn
from tideline.contracts import TidelineError
from tideline.prediction_table import make_texts, tabulate
from tideline.predictor import Prediction, Predictor
from tideline.table_files import TableFile, TableSink

BATCH_ROWS = 16_384


@dataclass(frozen=True)
class Scored:
    """How many rows were predicted, and how many were set aside."""

    rows: int
    rejected: int


@dataclass(frozen=True)
class Reject:
    """A row that was set aside: its number in the file, from 1, and why."""

    number: int
    reason: str


def predict_file(
    bundle: Bundle,
    version: str,
    source: Path,
    out: Path,
    threads: int = 1,
    rejects: Path | None = None,
    progress: Callable[[int], object] = lambda rows: None,
) -> Scored:
    """Predict the rows of a CSV or Parquet file into another one, with the columns of the input kept.

    Added are prediction, lower_<level> and upper_<level> (or probability_<class> and set_<level>), and model_version;
    Parquet's metadata names task, model, version and digest. A row that breaks the manifest's rules stops it all,
    unless `rejects` names a file for such rows. The files have their names once they are whole. `progress` is told the
    rows of each batch. Raises TidelineError that names row (from 1) and column.
    """
    if rejects is not None and rejects.resolve() == out.resolve():
        raise TidelineError(f"{out} is to hold the predictions and the rejected rows; name two files")
    with TableFile.open(source) as file:
        scorer = _Scorer(bundle, version, threads, file.is_text)
        scorer.check_columns(source, file.schema)
        with TableSink(out, source) as sink, TableSink(rejects, source) as aside:
            rows = rejected = 0
            for batch in file.read(BATCH_ROWS):
                start = rows + rejected
                scored, left_out = scorer.score(batch, start)
                if left_out and rejects is None:
                    first = left_out[0]
                    raise TidelineError(
                        f"{source}, row {first.number}: {first.reason}; mend it, or set such rows aside: --rejects FILE"
                    )
                for part in scored:
                    sink.write(part)
                    rows += part.num_rows
                if rejects is not None:
                    aside.write(_describe_rejects(batch, start, left_out))
                    rejected += len(left_out)
                progress(batch.num_rows)
            if rows + rejected == 0:
                raise TidelineError(f"{source} holds no rows; there is nothing to predict")
            if rows == 0:
                raise TidelineError(f"each of the {rejected:,} rows of {source} breaks a rule; see its columns' rules")
            aside.finish()
            sink.finish()
    return Scored(rows, rejected)


class _Scorer:
    """Tables of one kind of file through one bundle."""

    def __init__(self, bundle: Bundle, version: str, threads: int, is_text: bool) -> None:
        manifest, self._is_text = bundle.manifest, is_text
        self._predictor = Predictor(bundle, threads)
        self._checker, self._version = ColumnChecker(manifest.columns), version
        self._metadata = {
            "task": manifest.task, "model": manifest.model, "version": version, "digest": bundle.digest,
        }  # fmt: skip

    def check_columns(self, source: Path, schema: pa.Schema) -> None:
        """Raises TidelineError if a column lacks, or has the name of one that is added."""
        for name in schema.names:
            if schema.names.count(name) > 1:
                raise TidelineError(f"{source}: the column {name!r} comes twice; rename one")
        try:
            self._checker.check_required(schema.names)
        except WrongColumn as error:
            raise TidelineError(f"{source}: {error.message}; it holds {', '.join(schema.names)}") from None
        ((nothing,), _) = self.score(schema.empty_table(), 0)
        if taken := sorted(set(schema.names) & set(nothing.column_names[len(schema.names) :])):
            raise TidelineError(f"{source} has columns that would be added: {', '.join(taken)}; rename them")

    def score(self, batch: pa.Table, start: int) -> tuple[list[pa.Table], list[Reject]]:
        """The parts that could be predicted, in their order, and the rows that could not. `start`: rows before."""
        try:
            checked = self._check(batch)
            return [self._add(batch, checked, self._predictor.predict(checked))], []
        except WrongColumn as error:  # no row's fault
            raise TidelineError(f"{error}; write it as another type") from None
        except WrongCell as error:
            if batch.num_rows == 1:
                return [], [Reject(start + 1, f"column {error.column}: {error.message}")]
        except TidelineError as error:  # the model has no finite answer
            if batch.num_rows == 1:
                return [], [Reject(start + 1, str(error))]
        # Halved until the rows at fault are alone: few tries if they are few, and each good row is predicted once.
        half = batch.num_rows // 2
        scored, rejects = self.score(batch.slice(0, half), start)
        others, more = self.score(batch.slice(half), start + half)
        return scored + others, rejects + more

    def _check(self, batch: pa.Table) -> dict[str, NDArray[Any]]:
        known = self._checker.columns
        names = [name for name in batch.column_names if name in known]
        convert = from_texts if self._is_text else from_array
        return self._checker.check({name: convert(known[name], join_chunks(batch.column(name))) for name in names})

    def _add(self, batch: pa.Table, checked: Mapping[str, NDArray[Any]], prediction: Prediction) -> pa.Table:
        if self._is_text:  # what was read as a number is written as one
            for place, name in enumerate(batch.column_names):
                if name in checked and self._checker.columns[name].kind in ("number", "integer"):
                    batch = batch.set_column(place, name, pa.array(checked[name], from_pandas=True))
        added = tabulate(prediction)
        for name in added.column_names:
            batch = batch.append_column(name, added.column(name))
        batch = batch.append_column("model_version", make_texts([self._version] * batch.num_rows))
        return batch.replace_schema_metadata(self._metadata)


def _describe_rejects(batch: pa.Table, start: int, rejects: list[Reject]) -> pa.Table:
    rows = batch.take(pa.array([reject.number - 1 - start for reject in rejects], pa.int64()))
    numbers = pa.array([reject.number for reject in rejects], pa.int64())
    rows = rows.append_column("rejected_row", numbers)
    return rows.append_column("rejected_because", make_texts(reject.reason for reject in rejects))
