"""The part of the OpenAPI description that is about CSV and Arrow."""

from __future__ import annotations

from typing import Any

from serving.columnar.media import ARROW, CSV
from serving.settings import Settings


def describe_bodies(settings: Settings) -> dict[str, Any]:
    """Rows in the formats beside JSON, by media type; a schema is that of the rows which a body holds."""
    rows = {
        "type": "array",
        "minItems": 1,
        "maxItems": settings.max_rows,
        "items": {"$ref": "#/components/schemas/Row"},
    }
    csv = "RFC 4180, UTF-8, the first line names the columns; an empty field is a missing value"
    arrow = "An Arrow IPC stream without compression; null and NaN are missing values"
    return {CSV: {"schema": {**rows, "description": csv}}, ARROW: {"schema": {**rows, "description": arrow}}}


def describe_answers(settings: Settings) -> dict[str, Any]:
    """Answers in the formats beside JSON, for those whose Accept header asks for one."""
    ids = "prediction_id, " if settings.log else ""
    columns = f"{ids}prediction, lower_LEVEL and upper_LEVEL, or probability_CLASS and set_LEVEL"
    csv = f"One line a row: {columns} (sets as JSON); the headers x-model-task, -name and -version say who answered"
    arrow = f"An Arrow IPC stream: {columns}; its schema's metadata says who answered"
    return {CSV: {"schema": {"type": "string", "description": csv}}, ARROW: {"schema": {"description": arrow}}}
