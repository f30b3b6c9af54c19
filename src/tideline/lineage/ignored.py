"""What may differ between two runs that made the same model, and why: the one list.

Everything else that a stage writes has to be the same to the last byte: data, split, matrices, fitted models,
out-of-fold predictions, ONNX graphs, scores.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

_DURATION = "how long it took depends on the machine and what else it did"
_CREATED = "the time at which it was made"
_PAGE = "a page for people; the figures it is drawn from are compared in their own files"


@dataclass(frozen=True)
class Ignored:
    """In files whose path matches one of these, these parts are left out of the comparison.

    fields: of a JSON file (`hashes.code` is one below another, `seconds` is left out at any depth), or columns of a
    CSV file; other files: regular expressions whose matches are left out. None: the whole file.
    """

    files: tuple[str, ...]
    fields: tuple[str, ...] | None
    reason: str

    def matches(self, path: str) -> bool:
        return any(fnmatchcase(path, pattern) for pattern in self.files)


_PATTERNS = (
    r"\d{4}-\d{2}-\d{2}T[\d:.]+(Z|[+-]\d{2}:\d{2})?",
    r"\d{8}T\d{6}(\.\d+)?Z",
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",  # numbers that Great Expectations draws for its page's panels
    r"[\d,.]+ (s|ms|µs|min|h)\b",
    r"[\d,.]+ <small>(s|ms|µs|rows/s)</small>",
)
_MANIFEST = ("work/*/candidate/manifest.json", "models/*/bundle/manifest.json")
_DIGEST = ("work/*/candidate/bundle.sha256", "models/*/bundle/bundle.sha256")
IGNORED = (
    Ignored(("work/*/train.json",), ("seconds",), _DURATION),
    Ignored(("work/*/selection.json",), ("seconds",), _DURATION),
    Ignored(("work/*/selection.json",), ("created",), _CREATED),
    Ignored(
        ("work/*/selection.json",), ("candidate",), "hash of a manifest, which holds the time; it is compared itself"
    ),
    Ignored(_MANIFEST, ("created",), _CREATED),
    Ignored(_MANIFEST, ("seconds", "latency_us", "rows_per_second"), _DURATION),
    Ignored(_MANIFEST, ("hashes.code", "versions"), "compared beforehand, and said ahead of everything else"),
    Ignored(_DIGEST, None, "hash of the manifest, which holds the time; it is compared itself"),
    Ignored(("reports/*/metrics.json",), ("seconds", "latency_us", "rows_per_second"), _DURATION),
    Ignored(("reports/*/plots/leaderboard.csv",), ("seconds",), _DURATION),
    Ignored(("reports/*/report.html",), None, f"{_PAGE}; it draws durations"),
    Ignored(("reports/*/data_docs/*",), _PATTERNS, _PAGE),
)


def clean(path: str, content: bytes) -> Any:
    """What counts of a file: its bytes, or what is left of them after everything in the list was taken out."""
    rules = [rule for rule in IGNORED if rule.matches(path)]
    if not rules:
        return content
    if any(rule.fields is None for rule in rules):
        return None
    names = [name for rule in rules for name in rule.fields or ()]
    reader = _READERS.get(path.rpartition(".")[2], _read_text)
    return reader(content, names)


def clean_name(path: str) -> str:
    """The path without the time of the run, which Great Expectations has in the names of its pages."""
    if not any(rule.fields == _PATTERNS and rule.matches(path) for rule in IGNORED):
        return path
    return _take_out(path, _PATTERNS[:2])


def _read_json(content: bytes, names: list[str]) -> Any:
    return _drop(json.loads(content), names, "")


def _drop(value: Any, names: list[str], place: str) -> Any:
    if isinstance(value, dict):
        kept = {key: f"{place}.{key}" for key in value}
        return {k: _drop(value[k], names, p) for k, p in kept.items() if not any(p.endswith(f".{n}") for n in names)}
    if isinstance(value, list):
        return [_drop(item, names, place) for item in value]
    return value


def _read_csv(content: bytes, names: list[str]) -> Any:
    rows = csv.DictReader(io.StringIO(content.decode()))
    return [{key: value for key, value in row.items() if key not in names} for row in rows]


def _read_text(content: bytes, names: list[str]) -> Any:
    return _take_out(content.decode(errors="replace"), names)


def _take_out(text: str, patterns: Any) -> str:
    for pattern in patterns:
        text = re.sub(pattern, "·", text)
    return text


_READERS: dict[str, Callable[[bytes, list[str]], Any]] = {"json": _read_json, "csv": _read_csv}
