"""The body of an inference request: JSON, and behind it the tensors that are sent as bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from serving.decode_errors import explain_unknown, match_missing, match_unknown, split_error
from serving.errors import Refusal

EXPECTED = '{"inputs": [{"name", "shape", "datatype", "data"}]}'
_UNKNOWN_MEANING = ("classification", "sequence_id", "shared_memory_region")  # what would change the answer


class InputTensor(msgspec.Struct, forbid_unknown_fields=True):
    """`data` as it was sent; it is left out of a tensor that is sent as bytes."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = msgspec.Raw()
    parameters: dict[str, Any] = {}


class RequestedOutput(msgspec.Struct, forbid_unknown_fields=True):
    """One output that is wanted, and how."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What is asked. No outputs: all of them."""

    inputs: list[InputTensor]
    id: str = ""
    outputs: list[RequestedOutput] = []
    parameters: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(InferRequest)


def read_request(body: bytes, header_length: str) -> tuple[InferRequest, dict[str, memoryview]]:
    """The request, and the bytes of the inputs that were sent as bytes. `header_length`: the header
    `Inference-Header-Content-Length`, the number of bytes of JSON; empty if all of it is JSON. Raises Refusal."""
    length = len(body) if not header_length else _read_length(header_length, len(body))
    try:
        request = _decoder.decode(memoryview(body)[:length])
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, "body", f"the body is not JSON ({error})", EXPECTED) from None
    _check_parameters("parameters", request.parameters)
    for tensor in request.inputs:
        _check_parameters(f"inputs.{tensor.name[:60]}.parameters", tensor.parameters)
    for output in request.outputs:
        _check_parameters(f"outputs.{output.name[:60]}.parameters", output.parameters)
    _refuse_twice("inputs", (tensor.name for tensor in request.inputs))
    _refuse_twice("outputs", (output.name for output in request.outputs))
    return request, _cut_bytes(request, memoryview(body)[length:])


def wants_bytes(request: InferRequest, output: RequestedOutput | None) -> bool:
    """Whether an output is answered as bytes: its own parameter, or else the request's."""
    own = None if output is None else output.parameters.get("binary_data")
    return bool(request.parameters.get("binary_data_output", False) if own is None else own)


def _cut_bytes(request: InferRequest, rest: memoryview) -> dict[str, memoryview]:
    found: dict[str, memoryview] = {}
    start = 0
    for tensor in request.inputs:
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            continue
        path = f"inputs.{tensor.name[:60]}.parameters.binary_data_size"
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest) - start:
            message = f"expected a number of bytes; {len(rest) - start} are left behind the JSON"
            raise Refusal(400, path, message, {"type": "integer", "minimum": 0})
        found[tensor.name] = rest[start : start + size]
        start += size
    if start != len(rest):
        message = f"{len(rest)} bytes follow the JSON, but the inputs' binary_data_size sum up to {start}"
        raise Refusal(400, "body", message, {"bytes": start})
    return found


def _read_length(text: str, limit: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) > limit:
        message = f"expected the number of bytes of JSON in the body, at most {limit}"
        raise Refusal(400, "header inference-header-content-length", message, {"type": "integer", "maximum": limit})
    return int(text)


def _check_parameters(path: str, parameters: Mapping[str, Any]) -> None:
    for name in _UNKNOWN_MEANING:
        if parameters.get(name):
            raise Refusal(400, f"{path}.{name}", f"this server knows no {name}; leave it out")


def _refuse_twice(path: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise Refusal(422, f"{path}.{name[:60]}", f"{name[:60]!r} comes twice")
        seen.add(name)


def _explain(error: str) -> Refusal:
    text, place = split_error(error)
    path = re.sub(r"^\.", "", place)
    if (name := match_missing(text)) is not None:
        return Refusal(422, f"{path}.{name}".lstrip("."), f"{name} is required", EXPECTED)
    if (name := match_unknown(text)) is not None:
        kind = InputTensor if path.startswith("inputs") else RequestedOutput if path else InferRequest
        return explain_unknown(place, name, sorted(kind.__struct_fields__), "key")
    return Refusal(422, path or "body", text.replace("`", ""), EXPECTED)
