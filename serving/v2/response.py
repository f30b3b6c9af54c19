"""Answers as output tensors."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.answers import Answers
from serving.asgi import JSON, Answer
from serving.errors import Refusal
from serving.v2.request import InferRequest, RequestedOutput, wants_bytes
from tideline.contracts import Manifest

BINARY = "application/octet-stream"
_HEADER = "inference-header-content-length"
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Output:
    """An output tensor: its name, datatype, and the sizes of an element beyond the rows."""

    name: str
    datatype: str
    inner: tuple[int, ...] = ()


def list_outputs(manifest: Manifest, logged: bool) -> list[Output]:
    """What a model answers; prediction_id only where predictions are logged."""
    names = manifest.classes
    levels = [f"{interval.level:g}" for interval in manifest.intervals]
    outputs = [Output("prediction", "BYTES" if names else "FP64")]
    if names:
        outputs.append(Output("probabilities", "FP64", (len(names),)))
        outputs += [Output(f"set_{level}", "BOOL", (len(names),)) for level in levels]
    else:
        outputs += [Output(f"interval_{level}", "FP64", (2,)) for level in levels]
    return [*outputs, Output("prediction_id", "BYTES")] if logged else outputs


def choose_outputs(request: InferRequest, outputs: Sequence[Output]) -> list[tuple[Output, bool]]:
    """The outputs that are asked for, all by default, and whether each is wanted as bytes. Raises Refusal."""
    by_name = {output.name: output for output in outputs}
    asked: Sequence[RequestedOutput] = request.outputs or [RequestedOutput(name) for name in by_name]
    for wanted in asked:
        if wanted.name not in by_name:
            path = f"outputs.{wanted.name[:60]}"
            raise Refusal(422, path, f"there is no such output; there are: {', '.join(by_name)}", list(by_name))
    return [(by_name[wanted.name], wants_bytes(request, wanted)) for wanted in asked]


def write_response(
    manifest: Manifest,
    version: str,
    request: InferRequest,
    chosen: Sequence[tuple[Output, bool]],
    answers: Answers,
    ids: Sequence[str] | None,
) -> Answer:
    """The whole answer; `answers` and `ids` are those of this request's rows."""
    columns = _Columns(manifest.classes, answers, ids)
    tensors: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for output, as_bytes in chosen:
        values = columns.get(output.name)
        tensor: dict[str, Any] = {"name": output.name, "datatype": output.datatype}
        tensor["shape"] = [len(answers.predictions), *output.inner]
        if as_bytes:
            parts.append(_to_bytes(values, output.datatype))
            tensor["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            tensor["data"] = values if isinstance(values, list) else values.ravel().tolist()
        tensors.append(tensor)
    head = {"model_name": manifest.task, "model_version": version, **({"id": request.id} if request.id else {})}
    text = _encode({**head, "outputs": tensors})
    if not parts:
        return Answer(200, text, JSON, version=version)
    return Answer(200, b"".join((text, *parts)), BINARY, {_HEADER: str(len(text))}, version)


class _Columns:
    """A request's answers by the outputs' names."""

    def __init__(self, names: Sequence[str], answers: Answers, ids: Sequence[str] | None) -> None:
        self._answers, self._ids = answers, ids
        prediction = answers.to_prediction(names)
        self._arrays: dict[str, NDArray[Any]] = {"probabilities": prediction.probabilities}
        for band in prediction.intervals:
            self._arrays[f"interval_{band.level:g}"] = np.column_stack([band.lower, band.upper])
        for chosen in prediction.sets:
            self._arrays[f"set_{chosen.level:g}"] = chosen.members

    def get(self, name: str) -> NDArray[Any] | list[Any]:
        """(n, ...) numbers or truth values, or a list of texts or numbers."""
        if name == "prediction":
            return self._answers.predictions
        return list(self._ids or ()) if name == "prediction_id" else self._arrays[name]


def _to_bytes(values: NDArray[Any] | list[Any], datatype: str) -> bytes:
    if datatype == "BYTES":
        texts = [text.encode() for text in values]
        return b"".join(piece for text in texts for piece in (struct.pack("<I", len(text)), text))
    kind = "?" if datatype == "BOOL" else "<f8"
    return np.ascontiguousarray(values, dtype=kind).tobytes()
