"""A sample of the holdout as a client would send it, and what the bundle answers offline, by the road that evaluation
took. A server sends it to itself over HTTP before a version takes traffic, and compares: what differs between training
and serving (dates, missing values, whole numbers, texts) shows there."""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tideline.bundle import Bundle, to_json, write_durably
from tideline.contracts import Column, TidelineError
from tideline.layout import Layout
from tideline.params import Export
from tideline.predictor import Predictor, columns_from_frame

if TYPE_CHECKING:
    import pandas as pd

ROWS = 64
_EPOCH = date(1970, 1, 1).toordinal()


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """n rows as JSON objects, and their answers: a number a row, or {class: probability}.

    Two numbers agree if they differ by at most `tolerance` times the larger of the expected one and `floor`, two
    probabilities if they differ by at most `tolerance`.
    """

    digest: str
    tolerance: float
    floor: float
    rows: list[dict[str, Any]]
    answers: list[float | dict[str, float]]


def write_parity(layout: Layout, version: str, bundle: Bundle, frame: pd.DataFrame, export: Export, seed: int) -> None:
    """Keep a seeded sample of a holdout `frame` for a version of the registry."""
    chosen = np.random.default_rng(seed).choice(len(frame), size=min(ROWS, len(frame)), replace=False)
    columns = columns_from_frame(bundle.manifest, frame.iloc[np.sort(chosen)])
    prediction = Predictor(bundle).predict(columns)
    values = {c.name: [_to_plain(c, v) for v in columns[c.name].tolist()] for c in bundle.manifest.columns}
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    answers: list[Any] = prediction.values.tolist()
    if prediction.names:
        answers = [dict(zip(prediction.names, row, strict=True)) for row in prediction.probabilities.tolist()]
    tolerance = export.probability if prediction.names else export.relative
    sample = Sample(bundle.digest, tolerance, export.floor, rows, answers)
    place = parity_file(layout, version)
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}.tmp")
    write_durably(temporary, to_json(msgspec.to_builtins(sample), str(place)))
    temporary.replace(place)


def read_parity(layout: Layout, version: str) -> Sample:
    """The sample that was kept for a version. Raises TidelineError if there is none, or it is damaged."""
    place = parity_file(layout, version)
    try:
        return msgspec.json.decode(place.read_bytes(), type=Sample)
    except FileNotFoundError:
        raise TidelineError(
            f"{place} is gone: nothing says what {version} should answer; offer it again "
            f"(`tideline canary {layout.task}` or `tideline promote {layout.task}`)"
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TidelineError(f"{place} cannot be read ({error}); restore it from a backup") from error


def parity_file(layout: Layout, version: str) -> Path:
    """Where a version's sample lies."""
    return layout.registry / "parity" / f"{version}.json"


def find_difference(sample: Sample, answer: dict[str, Any], start: int = 0) -> str:
    """How the body of an answer to all rows of the sample differs from what was expected; empty if it does not.

    start: number of its first row, where it is a part of the sample.
    """
    for i, expected in enumerate(sample.answers):
        row = start + i
        if isinstance(expected, dict):
            found = answer["probabilities"][i]
            far = [name for name, p in expected.items() if not abs(found.get(name, math.inf) - p) <= sample.tolerance]
            if far:
                name = far[0]
                return f"row {row} of its sample gives {name!r} {found.get(name)}, offline it was {expected[name]}"
            continue
        value = answer["predictions"][i]
        if not abs(value - expected) <= sample.tolerance * max(abs(expected), sample.floor):
            return f"row {row} of its sample gives {value}, offline it was {expected}"
    return ""


def _to_plain(column: Column, value: Any) -> Any:
    if column.is_text:
        return value or None
    if math.isnan(value):
        return None
    if column.kind == "date":
        return date.fromordinal(int(value) + _EPOCH).isoformat()
    return int(value) if column.kind == "integer" else value
