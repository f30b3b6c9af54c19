"""What a window is held against: the reference sketch of a bundle, as bins and counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from tideline.binned import Binned
from tideline.bundle import Bundle
from tideline.contracts import Column, Kind, Manifest
from tideline.error_model import ErrorModel
from tideline.monitor.axes import Axis, make_axis, read_reference
from tideline.monitor.window import SAMPLE, Window

VALUE, CLASS, CONFIDENCE = "prediction", "prediction", "prediction_confidence"


@dataclass(frozen=True)
class Subject:
    """One column, or one thing about the predictions: its bins, its counts at training, and what its sketch holds."""

    axis: Axis
    counts: Binned
    keys: frozenset[str]


@dataclass(frozen=True)
class Reference:
    """Subjects by name, and the errors of the validation at training: their number, mean and deviation, and the model
    that estimates them. None: the bundle was built by a tideline that did not keep them."""

    manifest: Manifest
    columns: Mapping[str, Subject]
    answers: Mapping[str, Subject]
    error: tuple[int, float, float] | None
    error_model: ErrorModel | None

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """Read a bundle's."""
        return cls.from_sketch(bundle.manifest, bundle.read_reference())

    @classmethod
    def from_sketch(cls, manifest: Manifest, sketch: Mapping[str, Any]) -> Self:
        """From the content of reference.json."""
        columns = {c.name: _subject(c.kind, sketch["columns"][c.name], c) for c in manifest.columns}
        if manifest.problem == "regression":
            answers = {VALUE: _subject("number", sketch["prediction"])}
        else:
            answers = {
                CLASS: _subject("category", sketch["prediction"]),
                CONFIDENCE: _subject("number", sketch["prediction_confidence"]),
            }
        error = sketch.get("error")
        model = sketch.get("error_model")
        return cls(
            manifest, columns, answers,
            None if error is None else (error["rows"], error["mean"], error["std"]),
            None if model is None else ErrorModel.from_dict(model),
        )  # fmt: skip

    def open_window(self, seed: int, sample: int = SAMPLE) -> Window:
        """An empty window over these bins."""
        columns, answers = ({name: s.axis for name, s in part.items()} for part in (self.columns, self.answers))
        return Window(columns, answers, seed, sample)

    @property
    def told(self) -> str:
        """The answer that the error model takes beside the columns."""
        return VALUE if self.manifest.problem == "regression" else CONFIDENCE


def _subject(kind: Kind, sketch: Mapping[str, Any], column: Column | None = None) -> Subject:
    axis = make_axis(kind, sketch, column)
    return Subject(axis, read_reference(axis, sketch), frozenset(sketch))
