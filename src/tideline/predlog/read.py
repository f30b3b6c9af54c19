"""Reading the log: a stream of tables that is never whole in memory, and the counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from tideline.contracts import Column, TidelineError
from tideline.predlog.database import Database
from tideline.predlog.records import Role
from tideline.predlog.tables import labelled_id, labels, predictions

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 10_000
FEATURE = "features."  # what the expanded columns' names begin with, so that none meets a column of the log
_P, _L = predictions.c, labels.c
_LATEST = predictions.outerjoin(labels, sa.and_(_L.prediction_id == labelled_id, _L.is_current))


def _text(column: sa.Column[Any]) -> sa.ColumnElement[str]:
    return sa.cast(column, sa.Text).label(column.name)


_ERROR = sa.case(
    (_L.label.is_not(None), sa.func.abs(_P.prediction - _L.label)),
    (_L.label_class.is_not(None), sa.case((_L.label_class == _P.predicted_class, 0.0), else_=1.0)),
)
# name -> (expression, Arrow's type by name)
_COLUMNS: dict[str, tuple[sa.ColumnElement[Any], str]] = {
    "prediction_id": (_P.prediction_id, "string"),
    "request_id": (_P.request_id, "string"),
    "time": (_P.time, "time"),
    "task": (_P.task, "string"),
    "version": (_P.version, "string"),
    "role": (_P.role, "string"),
    "key": (_P.key, "string"),
    "route": (_P.route, "string"),
    "features": (_text(_P.features), "string"),
    "prediction": (_P.prediction, "float64"),
    "predicted_class": (_P.predicted_class, "string"),
    "probabilities": (_text(_P.probabilities), "string"),
    "intervals": (_text(_P.intervals), "string"),
    "latency": (_P.latency, "int64"),
    "label": (_L.label, "float64"),
    "label_class": (_L.label_class, "string"),
    "label_time": (_L.time.label("label_time"), "time"),
    "label_source": (_L.source.label("label_source"), "string"),
    "absolute_error": (_ERROR.label("absolute_error"), "float64"),
}


@dataclass(frozen=True)
class Count:
    """How much one version has in the log, in one role. first, last: µs since 1970-01-01 UTC."""

    task: str
    version: str
    role: str
    predictions: int
    labelled: int
    first: int
    last: int


def iterate(
    database: Database,
    task: str,
    since: int | None = None,
    until: int | None = None,
    version: str | None = None,
    role: Role | None = None,
    columns: Sequence[Column] | None = None,
    labelled: bool = False,
    batch: int = BATCH,
) -> Iterator[pa.Table]:
    """Predictions of a task with the label that counts, ordered by time, as tables of at most `batch` rows; with
    `labelled` only those that have one.

    since (included) and until (excluded) are µs since 1970-01-01 UTC. With a manifest's `columns` the features become
    columns named `features.<name>`, null where a row has none: float64, int64, string or date32. No transaction is open
    between two tables. Raises StoreUnavailable, or TidelineError if a row's features do not fit the columns.
    """
    expand = None if columns is None else _Expander(columns)
    schema = describe_rows(columns)
    conditions = [_P.task == task]
    conditions += [_P.time < until] if until is not None else []
    conditions += [_P.version == version] if version is not None else []
    conditions += [_P.role == role] if role is not None else []
    conditions += [_L.label_id.is_not(None)] if labelled else []
    query = (
        sa.select(*(expression for expression, _ in _COLUMNS.values()))
        .select_from(_LATEST)
        .where(*conditions)
        .order_by(_P.time, _P.prediction_id)
        .limit(batch)
    )
    beyond = _P.time >= since if since is not None else sa.true()
    while True:
        with database.connect() as connection:
            rows = connection.execute(query.where(beyond)).all()
        if not rows:
            return
        last = rows[-1]
        beyond = sa.tuple_(_P.time, _P.prediction_id) > sa.tuple_(
            sa.literal(last.time, sa.BigInteger), sa.literal(last.prediction_id, sa.Text)
        )
        yield _to_table(rows, schema, expand)
        if len(rows) < batch:
            return


def describe_rows(columns: Sequence[Column] | None = None) -> pa.Schema:
    """The schema of the tables that `iterate` gives."""
    import pyarrow as pa

    types = {"string": pa.string(), "float64": pa.float64(), "int64": pa.int64(), "time": pa.timestamp("us", "UTC")}
    fields = [pa.field(name, types[kind]) for name, (_, kind) in _COLUMNS.items()]
    if columns is not None:
        kinds = {"number": pa.float64(), "integer": pa.int64(), "category": pa.string(), "date": pa.date32()}
        fields = [field for field in fields if field.name != "features"]
        fields += [pa.field(FEATURE + column.name, kinds[column.kind]) for column in columns]
    return pa.schema(fields)


def count(database: Database) -> list[Count]:
    """What is in the log, by task, version and role."""
    first, last = sa.func.min(_P.time), sa.func.max(_P.time)
    query = (
        sa.select(_P.task, _P.version, _P.role, sa.func.count(), sa.func.count(_L.label_id), first, last)
        .select_from(_LATEST)
        .group_by(_P.task, _P.version, _P.role)
        .order_by(_P.task, first, _P.role)
    )  # fmt: skip
    with database.connect() as connection:
        return [Count(*row) for row in connection.execute(query)]


def _to_table(rows: Sequence[Any], schema: pa.Schema, expand: _Expander | None) -> pa.Table:
    import pyarrow as pa

    values: dict[str, Sequence[Any]] = dict(zip(_COLUMNS, zip(*rows, strict=True), strict=True))
    if expand is not None:
        values |= expand.read(values["prediction_id"], values.pop("features"))
    return pa.table([pa.array(values[field.name], field.type) for field in schema], schema=schema)


class _Expander:
    """JSON texts of rows into columns of values."""

    def __init__(self, columns: Sequence[Column]) -> None:
        # A client may send 46.0 for a whole number, and the log keeps rows as they came.
        types: dict[str, Any] = {"number": float, "integer": int | float, "category": str, "date": date}
        fields = [(f"c{i}", types[column.kind] | None, None) for i, column in enumerate(columns)]
        names = {f"c{i}": column.name for i, column in enumerate(columns)}  # which need not be Python's
        row = msgspec.defstruct("Features", fields, rename=names, gc=False)
        self._names = [FEATURE + column.name for column in columns]
        self._whole = {FEATURE + column.name for column in columns if column.kind == "integer"}
        self._row: msgspec.json.Decoder[Any] = msgspec.json.Decoder(row)
        self._rows: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]

    def read(self, ids: Sequence[str], texts: Sequence[str]) -> dict[str, list[Any]]:
        try:
            rows = self._rows.decode(f"[{','.join(texts)}]")
        except msgspec.DecodeError:
            rows = [self._read_one(name, text) for name, text in zip(ids, texts, strict=True)]
        columns = {name: [getattr(row, f"c{i}") for row in rows] for i, name in enumerate(self._names)}
        return {k: _to_whole(ids, k, values) if k in self._whole else values for k, values in columns.items()}

    def _read_one(self, name: str, text: str) -> Any:
        try:
            return self._row.decode(text)
        except msgspec.DecodeError as error:
            raise TidelineError(
                f"prediction {name}: its features do not fit the columns ({error}); read the log without columns "
                "(--raw), or with those of the version that made it (--version)"
            ) from error


def _to_whole(ids: Sequence[str], column: str, values: list[Any]) -> list[int | None]:
    whole = [None if v is None else int(v) for v in values]
    for name, number, value in zip(ids, whole, values, strict=True):
        if number != value:
            raise TidelineError(
                f"prediction {name}: its features do not fit the columns ({column} is {value}, expected a whole "
                "number); read the log without columns (--raw), or with those of the version that made it (--version)"
            )
    return whole
