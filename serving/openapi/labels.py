"""The part of the OpenAPI description that is about labels."""

from __future__ import annotations

from typing import Any

from serving.feedback import ID_SCHEMA, LABEL_SCHEMA, STATES
from serving.settings import Settings

KEY: list[dict[str, list[str]]] = [{"key": []}, {}]  # needed once a key was made


def describe_feedback(errors: dict[str, Any]) -> dict[str, Any]:
    """POST /feedback; `errors` are the answers to a request that is refused."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/FeedbackRequest"}}}
    answer = {"application/json": {"schema": {"$ref": "#/components/schemas/FeedbackResponse"}}}
    return {
        "operationId": "feedback",
        "summary": "Say what turned out to be true, for one prediction or many",
        "description": "The labels of one request are stored together, or none of them is.",
        "security": KEY,
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "What became of each label, in their order", "content": answer},
            **errors,
        },
    }


def describe_labels(settings: Settings) -> dict[str, Any]:
    """The schemas of its request and of its answer."""
    given = {
        "type": "object",
        "additionalProperties": False,
        "required": ["prediction_id", "label"],
        "properties": {"prediction_id": ID_SCHEMA, "label": LABEL_SCHEMA},
    }
    states = "; ".join(f"{state}: {meaning}" for state, meaning in STATES.items())
    taken = {
        "type": "object",
        "required": ["prediction_id", "state", "reason", "version", "lag_seconds"],
        "properties": {
            "prediction_id": {"type": "string"},
            "state": {"type": "string", "enum": list(STATES), "description": states},
            "reason": {"type": "string"},
            "version": {"type": ["string", "null"], "description": "The version that predicted"},
            "lag_seconds": {"type": ["number", "null"], "description": "From prediction to label"},
        },
    }
    many = {"type": "array", "minItems": 1, "maxItems": settings.max_labels, "items": given}
    return {
        "FeedbackRequest": {
            "type": "object",
            "additionalProperties": False,
            "required": ["labels"],
            "properties": {"labels": many},
        },
        "FeedbackResponse": {
            "type": "object",
            "required": ["labels", "states"],
            "properties": {
                "labels": {"type": "array", "items": taken},
                "states": {"type": "object", "additionalProperties": {"type": "integer"}},
            },
        },
    }
