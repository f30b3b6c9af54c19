"""Labels over HTTP: {"labels": [{"prediction_id", "label"}]} in, what became of each out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from serving.decode_errors import explain_malformed, explain_unknown, match_missing, match_unknown, split_error
from serving.errors import Refusal
from tideline.predlog import ID_LENGTH, Label, LabelAnswer

STATES = {
    "accepted": "the first label of its prediction, however late",
    "repeated": "the same value again; nothing changes",
    "corrected": "another value: it counts from now on, the earlier ones stay as history",
    "unknown": "no such prediction: never made, or removed since",
    "invalid": "no number, or one above 1e60 either way; not one of the model's classes",
}
ID_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 64, "examples": ["0" * ID_LENGTH]}
LABEL_SCHEMA = {"type": ["number", "string"], "maxLength": 200}
_FIELDS: dict[str, Any] = {"prediction_id": ID_SCHEMA, "label": LABEL_SCHEMA}


class _Labelled(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    prediction_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    label: float | Annotated[str, msgspec.Meta(max_length=200)]


class LabelDecoder:
    """Decodes and validates labels in one compiled pass."""

    def __init__(self, max_labels: int) -> None:
        self.max_labels = max_labels
        labels = Annotated[list[_Labelled], msgspec.Meta(min_length=1, max_length=max_labels)]
        request = msgspec.defstruct("Feedback", [("labels", labels)], forbid_unknown_fields=True, gc=False)
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(request)

    def decode(self, body: bytes) -> list[Label]:
        """The labels of a request's body. Raises Refusal."""
        try:
            return [Label(item.prediction_id, item.label) for item in self._decoder.decode(body).labels]
        except msgspec.ValidationError as error:
            raise self._explain(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise explain_malformed(error, body, "labels") from None

    def _explain(self, error: str) -> Refusal:
        text, place = split_error(error)
        path = place.lstrip(".")
        labels = {"type": "array", "minItems": 1, "maxItems": self.max_labels}
        if (name := match_missing(text)) is not None:
            return Refusal(422, f"{path}.{name}".lstrip("."), f"{name} is required", _FIELDS.get(name, labels))
        if (name := match_unknown(text)) is not None:
            return explain_unknown(place, name, sorted(_FIELDS) if place else ["labels"], "key")
        said = text.replace("`", "")
        if path == "labels" and "length <=" in said:
            return Refusal(422, path, f"too many labels; send at most {self.max_labels} in a request", labels)
        if path == "labels" and "length >=" in said:
            return Refusal(422, path, "the list is empty; send at least one label", labels)
        return Refusal(422, path or "body", said, _FIELDS.get(path.rpartition(".")[2], labels))


def encode_answers(answers: Sequence[LabelAnswer]) -> bytes:
    """The body of the answer: one entry a label, in their order, and how many there are of each state."""
    labels = [
        {
            "prediction_id": a.prediction_id,
            "state": a.state,
            "reason": a.reason,
            "version": a.version or None,
            "lag_seconds": None if a.lag is None else a.lag / 1e6,
        }
        for a in answers
    ]
    return msgspec.json.encode({"labels": labels, "states": Counter(a.state for a in answers)})
