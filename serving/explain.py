"""Explanations over HTTP: rows in, what each column added to each row's prediction out. Mathematics: attribution.py."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.decode_errors import explain_invalid, explain_malformed, explain_unknown, match_unknown, split_error
from serving.errors import Refusal, UnanswerableRow
from serving.live_model import LiveModel
from serving.schema import Row
from tideline.attribution import Attribution, attribute_row
from tideline.contracts import TidelineError

# 600 pairs use each of a sketch's 500 rows, 100 of them twice.
SAMPLES_LOW, SAMPLES, SAMPLES_HIGH = 24, 600, 10_000
SAMPLES_SCHEMA = {"type": "integer", "minimum": SAMPLES_LOW, "maximum": SAMPLES_HIGH, "default": SAMPLES}
SEED_SCHEMA = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1, "default": 0}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: rows, pairs of orders a row, the seed of their draw, and the class; None means the likeliest."""

    rows: Sequence[Row]
    samples: int
    seed: int
    class_name: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """One row's attribution, and the class that it is about; None for regression."""

    attribution: Attribution
    class_name: str | None


class GivenUp(Exception):
    """Nobody waits for the explanation any more, or not for long enough."""


class Explainer:
    """What a model's version needs to explain itself: its decoder, its predictor, and its background of real rows.

    Raises TidelineError if the bundle's reference sketch is broken.
    """

    def __init__(self, live: LiveModel, max_rows: int) -> None:
        self._predictor, self._schema, self.max_rows = live.predictor, live.decoder, max_rows
        self.model, self.unit = live.byline, live.manifest.target.unit
        self.columns, self.classes = [c.name for c in live.manifest.columns], live.manifest.classes
        sample = live.bundle.read_reference()["sample"]
        self._background = {c.name: _as_column(sample[c.name], c.is_text) for c in live.manifest.columns}
        rows = Annotated[list[self._schema.row], msgspec.Meta(min_length=1, max_length=max_rows)]  # type: ignore[name-defined]
        samples = Annotated[int, msgspec.Meta(ge=SAMPLES_LOW, le=SAMPLES_HIGH)]
        seed = Annotated[int, msgspec.Meta(ge=0, le=SEED_SCHEMA["maximum"])]
        fields: list[Any] = [
            ("rows", rows),
            ("samples", samples, SAMPLES),
            ("seed", seed, 0),
            ("class_name", str | None, None),
        ]
        renamed = {"class_name": "class"}
        request = msgspec.defstruct("Question", fields, rename=renamed, forbid_unknown_fields=True, gc=False)
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(request)

    def decode(self, body: bytes) -> Question:
        """A request's body. Raises Refusal."""
        try:
            asked = self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise self._refuse(str(error), body) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise explain_malformed(error, body) from None
        self._schema.check_dates(asked.rows)
        if asked.class_name is not None and asked.class_name not in self.classes:
            close = difflib.get_close_matches(asked.class_name[:60], self.classes, n=1)
            known = f"unknown class {asked.class_name[:60]!r}" + (f"; did you mean {close[0]!r}?" if close else "")
            message = known if self.classes else "this model predicts a number, it has no classes"
            raise Refusal(422, "class", message, list(self.classes) or None)
        return Question(asked.rows, asked.samples, asked.seed, asked.class_name)

    def explain(self, asked: Question, given_up: threading.Event) -> list[Explanation]:
        """Explain each row; takes seconds. Raises UnanswerableRow, and GivenUp soon after that is set."""
        explanations = []
        for number, row in enumerate(asked.rows):
            try:
                explanations.append(self._explain_row(row, asked, given_up))
            except TidelineError as error:
                raise UnanswerableRow(number) from error
        return explanations

    def encode(self, asked: Question, explanations: Sequence[Explanation]) -> bytes:
        """The body of the answer."""
        shared = {"unit": self.unit} if not self.classes else {"unit": "probability"}
        entries = [self._describe(explanation) for explanation in explanations]
        drawn = {"samples": asked.samples, "seed": asked.seed}
        return msgspec.json.encode({"model": self.model, **shared, **drawn, "explanations": entries})

    def _describe(self, explanation: Explanation) -> dict[str, Any]:
        found = explanation.attribution
        return {
            **({"class": explanation.class_name} if self.classes else {}),
            "prediction": found.prediction,
            "base": found.base,
            "base_error": found.base_error,
            "background_rows": found.background_rows,
            "attributions": dict(zip(self.columns, found.values.tolist(), strict=True)),
            "errors": dict(zip(self.columns, found.errors.tolist(), strict=True)),
            "gap": found.gap,
        }

    def _explain_row(self, row: Row, asked: Question, given_up: threading.Event) -> Explanation:
        columns = self._schema.to_columns([row])
        own = {name: columns[name] for name in self.columns}
        name, number = asked.class_name, 0
        if self.classes:
            likeliest = self._predictor.predict(own).classes[0]
            name = likeliest if name is None else name
            number = self.classes.index(name)

        def predict(points: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
            if given_up.is_set():
                raise GivenUp
            found = self._predictor.predict(points)
            return found.probabilities[:, number] if self.classes else found.values

        return Explanation(attribute_row(predict, own, self._background, asked.samples, asked.seed), name)

    def _refuse(self, error: str, body: bytes) -> Refusal:
        text, place = split_error(error)
        keys = {"rows": None, "samples": SAMPLES_SCHEMA, "seed": SEED_SCHEMA, "class": list(self.classes)}
        if not place and (name := match_unknown(text)) is not None:
            return explain_unknown("", name, list(keys), "key")
        key = place.removeprefix(".")
        if key in ("samples", "seed"):
            schema = {"samples": SAMPLES_SCHEMA, "seed": SEED_SCHEMA}[key]
            message = f"expected a whole number from {schema['minimum']} to {schema['maximum']}"
            return Refusal(422, key, message, schema)
        if key == "class":
            return Refusal(422, key, "expected the name of a class, or null", list(self.classes) or None)
        return explain_invalid(error, body, self._schema.columns, self.max_rows)


def _as_column(values: Sequence[Any], is_text: bool) -> NDArray[Any]:
    """A sketch's raw values (null = missing) as the predictor takes them."""
    if is_text:
        return np.array(["" if value is None else value for value in values], dtype=object)
    return np.array(values, dtype=np.float64)
