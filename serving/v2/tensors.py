"""Input tensors as raw columns, which are checked as those of every other format."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.columnar.checks import Places
from serving.decode_errors import split_error
from serving.errors import Refusal
from serving.v2.request import InferRequest, InputTensor
from tideline.column_rules import describe_schema, describe_words, find_range
from tideline.contracts import Column

PLACES = Places("inputs.{column}[{row}]", "inputs.{column}", "inputs")
NUMBERS = {
    "FP64": "<f8", "FP32": "<f4", "INT64": "<i8", "INT32": "<i4", "INT16": "<i2", "INT8": "<i1",
    "UINT64": "<u8", "UINT32": "<u4", "UINT16": "<u2", "UINT8": "<u1",
}  # fmt: skip
_flat_numbers = msgspec.json.Decoder(list[float | None])
_nested_numbers = msgspec.json.Decoder(list[tuple[float | None]])
_flat_texts = msgspec.json.Decoder(list[str | None])
_nested_texts = msgspec.json.Decoder(list[tuple[str | None]])


def read_columns(
    request: InferRequest, sent: Mapping[str, memoryview], columns: Mapping[str, Column]
) -> dict[str, NDArray[Any]]:
    """Each input as a column (n,); `sent` holds those that came as bytes. Missing are null, NaN and empty texts.

    Raises Refusal. An input that is no column is left to the checker, which says what it may have meant.
    """
    found: dict[str, NDArray[Any]] = {}
    for tensor in request.inputs:
        column = columns.get(tensor.name)
        if column is None:
            found[tensor.name] = np.empty(0)
            continue
        n = _count(tensor)
        is_text = column.kind in ("category", "date")
        if tensor.datatype not in (("BYTES",) if is_text else NUMBERS):
            wanted = "BYTES" if is_text else "FP64"
            message = f"expected {wanted}, got {tensor.datatype[:20]!r}; it holds {describe_words(column)}"
            raise Refusal(422, f"{_path(tensor)}.datatype", message, ["BYTES"] if is_text else list(NUMBERS))
        content = sent.get(tensor.name)
        values = _read_json(tensor, column, is_text) if content is None else _read_bytes(tensor, content, n)
        if len(values) != n:
            message = f"its shape {tensor.shape} says {n} elements, but there are {len(values)}"
            raise Refusal(422, f"{_path(tensor)}.data", message, {"shape": [len(values)]})
        found[tensor.name] = _widen(column, values) if tensor.datatype == "FP32" else values
    return found


def _count(tensor: InputTensor) -> int:
    shape = tensor.shape
    if len(shape) not in (1, 2) or shape[0] < 0 or shape[1:] not in ([], [1]):
        raise Refusal(422, f"{_path(tensor)}.shape", f"expected [n] or [n, 1], got {str(shape)[:60]}", [[-1], [-1, 1]])
    return shape[0]


def _read_json(tensor: InputTensor, column: Column, is_text: bool) -> NDArray[Any]:
    content = bytes(tensor.data)
    if not content:
        message = "data is required, or binary_data_size with the header Inference-Header-Content-Length"
        raise Refusal(422, f"{_path(tensor)}.data", message)
    is_nested = content[1:].lstrip()[:1] == b"["
    try:
        if is_text:
            texts = [row[0] for row in _nested_texts.decode(content)] if is_nested else _flat_texts.decode(content)
            return np.array([text or "" for text in texts], dtype=object)
        numbers = [row[0] for row in _nested_numbers.decode(content)] if is_nested else _flat_numbers.decode(content)
        return np.array(numbers, dtype=np.float64)  # null becomes NaN
    except msgspec.ValidationError as error:
        text, place = split_error(str(error))
        message = f"expected {describe_words(column)} ({text.replace('`', '')})"
        raise Refusal(422, f"{_path(tensor)}{place}", message, describe_schema(column)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, f"{_path(tensor)}.data", f"the body is not JSON ({error})") from None


def _read_bytes(tensor: InputTensor, content: memoryview, n: int) -> NDArray[Any]:
    if bytes(tensor.data):
        raise Refusal(422, f"{_path(tensor)}.data", "data and binary_data_size exclude each other; send one of them")
    if tensor.datatype != "BYTES":
        kind = np.dtype(NUMBERS[tensor.datatype])
        if len(content) != n * kind.itemsize:
            message = f"{n} elements of {tensor.datatype} are {n * kind.itemsize} bytes, got {len(content)}"
            raise Refusal(422, f"{_path(tensor)}.parameters.binary_data_size", message, {"bytes": n * kind.itemsize})
        return np.frombuffer(content, kind).astype(np.float64)
    texts: list[str] = []
    start = 0
    try:
        while start < len(content):
            (length,) = struct.unpack_from("<I", content, start)
            start += 4 + length
            if start > len(content):
                raise struct.error("its length leads out of the tensor")
            texts.append(str(content[start - length : start], "utf-8"))
    except (struct.error, UnicodeDecodeError) as error:
        message = f"expected UTF-8 behind its length in 4 bytes ({error})"
        raise Refusal(422, f"{_path(tensor)}[{len(texts)}]", message) from None
    values: NDArray[Any] = np.array([*texts, ""], dtype=object)[:-1]
    return values


def _widen(column: Column, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """FP32 holds few bounds exactly: the float32 next to a bound is meant to be that bound."""
    for bound in find_range(column):
        if bound is not None:
            values = np.where(values == np.float64(np.float32(bound)), bound, values)
    return values


def _path(tensor: InputTensor) -> str:
    return f"inputs.{tensor.name}"
