"""The part of the OpenAPI description that is about the registry's versions."""

from __future__ import annotations

from typing import Any

ADMIN: list[dict[str, list[str]]] = [{"key": []}]
_ACTS = {
    "promote": "Make a canary champion; all trials end",
    "rollback": "Go back to an older version; the one that is left is withdrawn, and all trials end",
    "share": "Give a canary another share of the requests",
    "end": "End the trial of a canary or shadow",
}


def describe_version_paths(errors: dict[str, Any]) -> dict[str, Any]:
    """GET /versions and what changes them; `errors` are the answers to a request that is refused."""
    listed = {"application/json": {"schema": {"$ref": "#/components/schemas/Versions"}}}
    list_versions = {
        "operationId": "versions",
        "summary": "All versions, who challenges the champion, and how they do live",
        "responses": {"200": {"description": "Newest first", "content": listed}, "405": errors["405"]},
    }
    paths: dict[str, Any] = {"/versions": {"get": list_versions}}
    conflict = {**errors["422"], "description": "The registry does not allow it; the message says why"}
    taken = {key: answer for key, answer in errors.items() if key not in ("400", "429", "503")}
    done = {"application/json": {"schema": {"$ref": "#/components/schemas/VersionActResponse"}}}
    for name, summary in _ACTS.items():
        schema = {"$ref": f"#/components/schemas/{'VersionShare' if name == 'share' else 'VersionAct'}"}
        paths[f"/versions/{name}"] = {
            "post": {
                "operationId": f"{name}_version",
                "summary": summary,
                "description": "Always needs a key of the scope admin. The ledger keeps reason and key name.",
                "security": ADMIN,
                "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
                "responses": {"200": {"description": "It is done", "content": done}, **taken, "409": conflict},
            }
        }
    return paths


def describe_version_schemas() -> dict[str, Any]:
    """The schemas of their requests and answers."""
    text, nullable = {"type": "string"}, {"type": ["string", "null"]}
    version = {"type": "string", "description": "Its name, or the part before the dash", "examples": ["v0002"]}
    act = {"version": version, "reason": {"type": "string", "description": "Why, for the ledger"}}
    share = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
    figures = {"type": ["object", "null"], "description": "Live figures since the trial began, with 95 % intervals"}
    entry = {
        "type": "object",
        "required": ["version", "role", "was_champion"],
        "properties": {"version": text, "role": nullable, "was_champion": {"type": "boolean"}},
    }
    known = ["task", "champion", "since", "previous", "router", "challengers", "versions", "live", "warnings"]
    return {
        "VersionAct": _closed(act, ["version"]),
        "VersionShare": _closed({**act, "share": share}, ["version", "share"]),
        "VersionActResponse": {
            "type": "object",
            "required": ["action", "version", "reasons"],
            "properties": {"action": text, "version": text, "reasons": {"type": "array", "items": text}},
        },
        "Versions": {
            "type": "object",
            "required": known,
            "properties": {
                "champion": nullable,
                "challengers": {"type": "array", "items": {"$ref": "#/components/schemas/Challenger"}},
                "versions": {"type": "array", "items": entry},
                "live": figures,
            },
        },
    }


CHALLENGER: dict[str, Any] = {
    "type": "object",
    "required": ["version", "role", "share", "is_served", "error"],
    "properties": {
        "version": {"type": "string"},
        "role": {"type": "string", "enum": ["canary", "shadow"]},
        "share": {"type": "number", "description": "Of the requests; 0 for a shadow"},
        "is_served": {"type": "boolean"},
        "error": {"type": ["string", "null"], "description": "Why it takes no traffic"},
    },
}


def _closed(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}
