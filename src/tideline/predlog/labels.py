"""Labels for logged predictions: what each becomes, and the history that a correction leaves.

accepted   the first label of a prediction
repeated   the same value again: nothing is stored
corrected  another value: a new row, which counts from now on; the earlier ones stay
unknown    no such prediction (never made, or pruned): not stored
invalid    no number, or one beyond `LARGEST` either way (regression), not one of the model's classes (classification):
           not stored
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from tideline.predlog.database import Database
from tideline.predlog.records import Label, LabelAnswer, LabelState
from tideline.predlog.tables import LARGEST, predictions
from tideline.predlog.tables import labels as table

CHUNK = 500


@dataclass(slots=True)
class _Known:
    """What the store knows of a prediction: its row, its classes (None for regression), and the label that counts."""

    row: Any
    classes: list[str] | None
    label_id: int | None = None
    value: float | str | None = None
    added: dict[str, Any] | None = None  # the row this call adds last


def record_labels(
    database: Database, labels: Sequence[Label], source: str = "", now: int | None = None
) -> list[LabelAnswer]:
    """Store labels in one transaction; one answer a label, in their order.

    source: whose they are, e.g. the name of an API key. now: µs since 1970-01-01 UTC, the time of reception. Labels of
    one prediction take effect in the order given. Raises StoreUnavailable; then none of them is stored.
    """
    received = time.time_ns() // 1000 if now is None else now
    ids = sorted({label.prediction_id for label in labels if _may_be_id(label.prediction_id)})
    with database.transaction() as connection:
        known: dict[str, _Known] = {}
        for start in range(0, len(ids), CHUNK):
            known.update(_look_up(connection, ids[start : start + CHUNK]))
        judge = _Judge(known, source, received)
        answers = [judge.take(label) for label in labels]
        if judge.superseded:
            statement = sa.update(table).where(table.c.label_id == sa.bindparam("old")).values(is_current=False)
            connection.execute(statement, [{"old": label_id} for label_id in judge.superseded])
        if judge.rows:
            connection.execute(sa.insert(table), judge.rows)
    return answers


class _Judge:
    """Decides label by label; `rows` are to be inserted, `superseded` no longer count."""

    def __init__(self, known: dict[str, _Known], source: str, received: int) -> None:
        self._known, self._source, self._received = known, source, received
        self.rows: list[dict[str, Any]] = []
        self.superseded: list[int] = []

    def take(self, label: Label) -> LabelAnswer:
        name = label.prediction_id
        known = self._known.get(name) if isinstance(name, str) else None
        if known is None:
            return LabelAnswer(str(name), "unknown", "there is no such prediction: never made, or pruned since")
        value, fault = _check(label.value, known.classes)
        if fault:
            return LabelAnswer(name, "invalid", fault)
        if known.value == value:
            return self._answer(known, "repeated", value)
        before = known.value
        if known.added is not None:
            known.added["is_current"] = False
        elif known.label_id is not None:
            self.superseded.append(known.label_id)
        known.value, known.added = value, self._row(name, value)
        self.rows.append(known.added)
        if before is None:
            return self._answer(known, "accepted", value)
        return self._answer(known, "corrected", value, f"was {before}")

    def _answer(self, known: _Known, state: LabelState, value: float | str, reason: str = "") -> LabelAnswer:
        row = known.row
        error = float(value != row.predicted_class) if isinstance(value, str) else abs(row.prediction - value)
        lag = self._received - row.time
        return LabelAnswer(row.prediction_id, state, reason, row.task, row.version, row.role, error, lag)

    def _row(self, name: str, value: float | str) -> dict[str, Any]:
        is_class = isinstance(value, str)
        return {
            "prediction_id": name,
            "label": None if is_class else value,
            "label_class": value if is_class else None,
            "time": self._received,
            "source": self._source,
            "is_current": True,
        }


def _look_up(connection: sa.Connection, ids: list[str]) -> Iterator[tuple[str, _Known]]:
    # Two statements: the second sees what another process stored while the first waited for its rows.
    p, given = predictions.c, table.c
    found = connection.execute(
        sa.select(
            p.prediction_id,
            p.time,
            p.task,
            p.version,
            p.role,
            p.prediction,
            p.predicted_class,
            sa.cast(p.probabilities, sa.Text).label("probabilities"),
        )
        .where(p.prediction_id.in_(ids))
        .order_by(p.prediction_id)
        .with_for_update(key_share=True)
    ).all()
    current = connection.execute(
        sa.select(given.prediction_id, given.label_id, given.label, given.label_class).where(
            given.prediction_id.in_(ids), given.is_current
        )
    ).all()
    labelled = {row.prediction_id: row for row in current}
    for row in found:
        known = _Known(
            row, None if row.predicted_class is None else list(msgspec.json.decode(row.probabilities or "{}"))
        )
        if (label := labelled.get(row.prediction_id)) is not None:
            known.label_id = label.label_id
            known.value = label.label if label.label is not None else label.label_class
        yield row.prediction_id, known


def _may_be_id(name: Any) -> bool:
    return isinstance(name, str) and name.isascii() and name.isprintable()  # PostgreSQL takes no NUL


def _check(value: Any, classes: list[str] | None) -> tuple[float | str, str]:
    """The value as it is stored, and what is wrong with it."""
    if classes is None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return 0.0, f"expected a number, got {_show(value)}"
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            return number, f"expected a finite number, got {_show(value)}"
        return number, "" if abs(number) <= LARGEST else f"expected at most {LARGEST:g} either way, got {_show(value)}"
    if not isinstance(value, str) or (classes and value not in classes) or not value or not value.isprintable():
        expected = f"one of {', '.join(classes[:20])}" if classes else "the name of a class"
        return "", f"expected {expected}, got {_show(value)}"
    return value, ""


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
