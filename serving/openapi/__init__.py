"""The OpenAPI 3.1 description, made from the manifest: this task's columns, types, ranges, units, examples."""

from __future__ import annotations

from typing import Any

from serving.live_model import LiveModel
from serving.openapi.bulk import describe_answers, describe_bodies
from serving.openapi.explain import describe_explain, describe_explanations
from serving.openapi.labels import KEY, describe_feedback, describe_labels
from serving.openapi.v2 import describe_v2, describe_v2_schemas
from serving.openapi.versions import CHALLENGER, describe_version_paths, describe_version_schemas
from serving.routing import STICKY_LENGTH
from serving.settings import Settings
from serving.source import has_registry
from tideline.column_rules import describe_schema

_REASONS = {
    400: "The body is not what its content-type says",
    401: "A key is needed, or it is not known, or was revoked",
    403: "The key is not for this",
    404: "There is no such path, model or version",
    405: "The path does not take this method; the Allow header says which it takes",
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "The content-type is none that is read here",
    422: "The content is not what was expected: a wrong type, a value out of its range, a missing or unknown column, "
    "no rows, too many rows, or a row for which the model gives no finite number",
    429: "Too many rows wait, or the key has sent too many requests; the Retry-After header says when to come again",
    503: "It cannot be logged now, so it is not answered, or an explanation was not ready in time; "
    "the Retry-After header says when to come again",
}


def describe_api(live: LiveModel, settings: Settings) -> dict[str, Any]:
    """The document that /openapi.json serves."""
    manifest = live.manifest
    simulated = (
        "**Trained on simulated data: not for real decisions.** " if manifest.provenance.get("simulated") else ""
    )
    errors = {str(s): _error(s) for s in (400, 401, 403, 405, 408, 413, 415, 422, 429, 503)}
    answers = _json("The answers, in the order of the rows", _ref("PredictResponse"))
    answers["content"].update(describe_answers(settings))
    predict = {
        "operationId": "predict",
        "summary": f"Predict {manifest.target.name} for one row or many",
        "security": KEY,
        "parameters": [_STICKY],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref("PredictRequest")}, **describe_bodies(settings)},
        },
        "responses": {"200": answers, **errors},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": manifest.title,
            "version": live.version,
            "description": f"{simulated}Model {manifest.model}, built {manifest.created}. "
            f"At most {settings.max_rows} rows and {settings.max_body_bytes} bytes in a request.",
        },
        "paths": {
            "/predict": {"post": predict},
            "/explain": {"post": describe_explain(errors)},
            **({"/feedback": {"post": describe_feedback(errors)}} if settings.log else {}),
            **(describe_version_paths(errors) if has_registry(settings) else {}),
            "/": {"get": _get("page", "The server for people: try, watch, change it", _text("A page", "text/html"))},
            "/model": {"get": _get("model", "The served model", _json("The manifest", _ref("Model")))},
            "/openapi.json": {"get": _get("openapi", "This description", _json("OpenAPI 3.1", {"type": "object"}))},
            "/docs": {"get": _get("docs", "This description for people", _text("A page", "text/html"))},
            "/livez": {"get": _get("livez", "Is the process alive?", _text("It is", "text/plain"))},
            "/readyz": {"get": _get("readyz", "Is it ready to predict?", _text("It is", "text/plain"))},
            "/metrics": {"get": _get("metrics", "Prometheus metrics", _text("Metrics", "text/plain"))},
            **describe_v2(live, settings, _REASONS),
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Row": _row(live),
                "PredictRequest": _request(live, settings),
                "PredictResponse": _response(live, settings),
                **describe_explanations(live, settings),
                **(describe_labels(settings) if settings.log else {}),
                **describe_v2_schemas(live, settings),
                **(describe_version_schemas() if has_registry(settings) else {}),
                "Model": _MODEL,
                "Challenger": CHALLENGER,
                "Error": _ERROR,
            },
        },
    }


_PENDING: dict[str, Any] = {
    "type": ["object", "null"],
    "description": "Why the version that the registry names is not the one that is served",
    "required": ["version", "error", "since"],
    "properties": {key: {"type": "string"} for key in ("version", "error", "since")},
}
_MODEL: dict[str, Any] = {
    "type": "object",
    "required": ["task", "name", "version", "columns", "target", "provenance", "metrics", "challengers", "router"],
    "properties": {
        "pending_error": _PENDING,
        "challengers": {"type": "array", "items": {"$ref": "#/components/schemas/Challenger"}},
        "router": {"type": "string", "enum": ["split", "bandit"]},
    },
}
_STICKY: dict[str, Any] = {
    "name": "x-sticky-key",
    "in": "header",
    "description": "Requests with the same one are answered by the same version, and it is logged",
    "schema": {"type": "string", "maxLength": STICKY_LENGTH, "pattern": "^[ -~]*$"},
}
_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["path", "message", "expected"],
            "properties": {
                "path": {"type": "string", "description": "The field, such as rows[3].column"},
                "message": {"type": "string"},
                "expected": {"description": "A schema, the allowed values, or a limit"},
            },
        }
    },
}


def _row(live: LiveModel) -> dict[str, Any]:
    columns = live.manifest.columns
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [c.name for c in columns if not c.nullable],
        "properties": {c.name: describe_schema(c) for c in columns},
        **({"examples": live.examples} if live.examples else {}),
    }


def _request(live: LiveModel, settings: Settings) -> dict[str, Any]:
    rows = {"type": "array", "minItems": 1, "maxItems": settings.max_rows, "items": _ref("Row")}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["rows"],
        "properties": {"rows": rows},
        **({"examples": [{"rows": live.examples[:1]}]} if live.examples else {}),
    }


def _response(live: LiveModel, settings: Settings) -> dict[str, Any]:
    manifest = live.manifest
    model = {
        "type": "object",
        "required": list(live.byline),
        "properties": {k: {"type": "string"} for k in live.byline},
    }
    number = {"type": "number"}
    levels = [f"{i.level:g}" for i in manifest.intervals]
    if manifest.problem == "regression":
        unit = f" ({manifest.target.unit})" if manifest.target.unit else ""
        answers = {"type": "array", "items": number, "description": f"{manifest.target.name}{unit}, one a row"}
        bounds = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
        parts = {"intervals": _by_level(levels, bounds, "Lower and upper bound by coverage")}
    else:
        name = {"type": "string", "enum": list(manifest.classes)}
        answers = {"type": "array", "items": name, "description": f"The likeliest {manifest.target.name}, one a row"}
        shares = {"type": "object", "required": list(manifest.classes), "additionalProperties": number}
        parts = {
            "probabilities": {"type": "array", "items": shares},
            "sets": _by_level(
                levels, {"type": "array", "items": name}, "Classes that the truth lies among, by coverage"
            ),
        }
    ids = {"type": "array", "items": {"type": "string"}, "description": "One a row; what labels refer to"}
    logged = {"prediction_ids": ids} if settings.log else {}
    return {
        "type": "object",
        "required": ["model", *logged, "predictions", *parts],
        "properties": {"model": model, **logged, "predictions": answers, **parts},
    }


def _by_level(levels: list[str], items: dict[str, Any], description: str) -> dict[str, Any]:
    lists = {level: {"type": "array", "items": items} for level in levels}
    return {"type": "object", "required": levels, "properties": lists, "description": description}


def _get(operation: str, summary: str, answer: dict[str, Any]) -> dict[str, Any]:
    return {"operationId": operation, "summary": summary, "responses": {"200": answer, "405": _error(405)}}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _text(description: str, media: str) -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": {"type": "string"}}}}


def _error(status: int) -> dict[str, Any]:
    return _json(_REASONS[status], _ref("Error"))


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
