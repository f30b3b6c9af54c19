"""The part of the OpenAPI description that is about the Open Inference Protocol."""

from __future__ import annotations

from typing import Any

from serving.live_model import LiveModel
from serving.openapi.labels import KEY
from serving.settings import Settings
from serving.v2.metadata import describe_model
from serving.v2.response import BINARY, list_outputs
from serving.v2.tensors import NUMBERS
from tideline.column_rules import describe_schema
from tideline.contracts import Column

_BINARY = (
    "With the binary tensor data extension the body is the same JSON, then the bytes of the tensors whose parameters "
    "hold `binary_data_size`; the header Inference-Header-Content-Length says how long the JSON is"
)


def describe_v2(live: LiveModel, settings: Settings, reasons: dict[int, str]) -> dict[str, Any]:
    """All paths below /v2; `reasons` say in words what a status means."""
    errors = {status: _error(text) for status, text in reasons.items()}
    paths: dict[str, Any] = {
        "/v2": {"get": _get("v2", "The server's name and extensions", "V2Server", errors)},
        "/v2/health/live": {"get": _get("v2_live", "Is the process alive?", "V2State", errors)},
        "/v2/health/ready": {"get": _get("v2_ready", "Is it ready to predict?", "V2State", errors, 503)},
    }
    name = _parameter("name", live.task)
    version = _parameter("version", live.version)
    for place, suffix, names in (
        ("/v2/models/{name}", "", [name]),
        ("/v2/models/{name}/versions/{version}", "_version", [name, version]),
    ):
        model = _get(f"v2_model{suffix}", "Inputs and outputs", "V2Model", errors, 404)
        paths[place] = {"get": {"parameters": names, **model}}
        ready = _get(f"v2_model{suffix}_ready", "Is it ready to predict?", "V2State", errors, 404, 503)
        paths[f"{place}/ready"] = {"get": {"parameters": names, **ready}}
        paths[f"{place}/infer"] = {"post": {"parameters": names, **_describe_infer(f"v2_infer{suffix}", errors)}}
    return paths


def describe_v2_schemas(live: LiveModel, settings: Settings) -> dict[str, Any]:
    """The components that those paths refer to."""
    manifest = live.manifest
    text, anything = {"type": "string"}, {"type": "object"}
    outputs = [output.name for output in list_outputs(manifest, settings.log)]
    wanted = {"name": {"type": "string", "enum": outputs}, "parameters": anything}
    shape = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    answered = {"name": text, "datatype": text, "shape": shape, "data": {"type": "array"}, "parameters": anything}
    model = describe_model(live, settings.log)
    return {
        "V2Server": _object({"name": text, "version": text, "extensions": {"type": "array", "items": text}}),
        "V2State": {"type": "object"},
        "V2Model": {"type": "object", "required": list(model), "examples": [model]},
        "V2Request": {
            "type": "object",
            "additionalProperties": False,
            "required": ["inputs"],
            "properties": {
                "id": text,
                "inputs": {
                    "type": "array",
                    "items": {"anyOf": [_describe_input(column) for column in manifest.columns]},
                    "description": "One tensor a column, all of one length; a nullable column may be left out",
                },
                "outputs": {"type": "array", "items": _object(wanted, ["name"], closed=True)},
                "parameters": {"type": "object", "properties": {"binary_data_output": {"type": "boolean"}}},
            },
        },
        "V2Response": _object(
            {
                "model_name": text,
                "model_version": text,
                "id": text,
                "outputs": {"type": "array", "items": _object(answered, ["name", "datatype", "shape"])},
            },
            ["model_name", "model_version", "outputs"],
        ),
        "V2Error": _object({"error": text, "path": text, "message": text, "expected": {}}),
    }


def _describe_input(column: Column) -> dict[str, Any]:
    is_text = column.kind in ("category", "date")
    values = {"type": "array", "items": describe_schema(column)}
    tensor = {
        "name": {"const": column.name},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
        "datatype": {"enum": ["BYTES"] if is_text else list(NUMBERS)},
        "data": values,
        "parameters": {"type": "object"},
    }
    return _object(tensor, ["name", "shape", "datatype"], closed=True)


def _describe_infer(operation: str, errors: dict[int, dict[str, Any]]) -> dict[str, Any]:
    content = {
        "application/json": {"schema": _ref("V2Request")},
        BINARY: {"schema": {"type": "string", "description": _BINARY}},
    }
    answer = {"application/json": {"schema": _ref("V2Response")}, BINARY: {"schema": {"description": _BINARY}}}
    statuses = (400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 503)
    return {
        "operationId": operation,
        "summary": "Predict the rows of tensors",
        "security": KEY,
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "The answers, in the order of the rows", "content": answer},
            **{str(status): errors[status] for status in statuses},
        },
    }


def _get(operation: str, summary: str, schema: str, errors: dict[int, dict[str, Any]], *more: int) -> dict[str, Any]:
    answer = {"description": summary, "content": {"application/json": {"schema": _ref(schema)}}}
    responses = {"200": answer, **{str(status): errors[status] for status in (405, *more)}}
    return {"operationId": operation, "summary": summary, "responses": responses}


def _parameter(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "enum": [value]}}


def _object(properties: dict[str, Any], required: list[str] | None = None, closed: bool = False) -> dict[str, Any]:
    kind = {"type": "object", "required": list(properties) if required is None else required, "properties": properties}
    return {**kind, "additionalProperties": False} if closed else kind


def _error(reason: str) -> dict[str, Any]:
    return {"description": reason, "content": {"application/json": {"schema": _ref("V2Error")}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
