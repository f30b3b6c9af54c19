"""The part of the OpenAPI description that is about explanations."""

from __future__ import annotations

from typing import Any

from serving.explain import SAMPLES_SCHEMA, SEED_SCHEMA
from serving.live_model import LiveModel
from serving.openapi.labels import KEY
from serving.settings import Settings


def describe_explain(errors: dict[str, Any]) -> dict[str, Any]:
    """POST /explain; `errors` are the answers to a request that is refused."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ExplainRequest"}}}
    answer = {"application/json": {"schema": {"$ref": "#/components/schemas/ExplainResponse"}}}
    explained = {"description": "The explanations, in the order of the rows", "content": answer}
    return {
        "operationId": "explain",
        "summary": "Say what each column added to the prediction of one row or a few",
        "description": "Sampled Shapley values against real training rows, each with its standard error. "
        "base + the sum of attributions = prediction. Takes seconds; it is not logged.",
        "security": KEY,
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": explained,
            **errors,
        },
    }


def describe_explanations(live: LiveModel, settings: Settings) -> dict[str, Any]:
    """The schemas of its request and of its answer."""
    manifest = live.manifest
    names = [c.name for c in manifest.columns]
    rows = {"type": "array", "minItems": 1, "maxItems": settings.max_explain_rows}
    classes = {"type": "string", "enum": list(manifest.classes)}
    chosen = {"enum": [*manifest.classes, None], "description": "The class to explain; by default each row's likeliest"}
    number = {"type": "number"}
    by_column = {"type": "object", "required": names, "additionalProperties": number}
    unit = "probability" if manifest.classes else manifest.target.unit
    entry = {
        **({"class": classes} if manifest.classes else {}),
        "prediction": {**number, "description": "The value, or the probability of the class"},
        "base": {**number, "description": "Mean prediction of the background rows that were drawn"},
        "base_error": {**number, "description": "Its standard error; 0 if all background rows were drawn"},
        "background_rows": {"type": "integer", "description": "How many of the reference sample's rows were drawn"},
        "attributions": {**by_column, "description": f"What each column added to the base ({unit})"},
        "errors": {**by_column, "description": "Standard error of each attribution"},
        "gap": {**number, "description": "prediction - base - sum of attributions: rounding alone"},
    }
    model = {"type": "object", "required": list(live.byline), "additionalProperties": {"type": "string"}}
    answer = {
        "model": model,
        "unit": {"type": "string", "description": "Unit of predictions, attributions and errors"},
        "samples": SAMPLES_SCHEMA,
        "seed": SEED_SCHEMA,
        "explanations": {"type": "array", "items": {"type": "object", "required": list(entry), "properties": entry}},
    }
    given = {
        "rows": {**rows, "items": {"$ref": "#/components/schemas/Row"}},
        "samples": {**SAMPLES_SCHEMA, "description": "Pairs of orders a row: four times as many halve the errors"},
        "seed": {**SEED_SCHEMA, "description": "Another seed, another draw"},
        **({"class": chosen} if manifest.classes else {}),
    }
    example = {"examples": [{"rows": live.examples[:1]}]} if live.examples else {}
    return {
        "ExplainRequest": {
            "type": "object",
            "additionalProperties": False,
            "required": ["rows"],
            "properties": given,
            **example,
        },
        "ExplainResponse": {"type": "object", "required": list(answer), "properties": answer},
    }
