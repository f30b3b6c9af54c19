"""Which format a request comes in, and which one its answer goes out in."""

from __future__ import annotations

from functools import lru_cache

from serving.asgi import JSON

ARROW, CSV = "application/vnd.apache.arrow.stream", "text/csv"
FORMATS = (JSON, ARROW, CSV)


@lru_cache(maxsize=64)
def choose_format(accept: str) -> str:
    """The format of FORMATS that an Accept header likes best; JSON where it names none of them.

    Of several with the same weight the first one that it names.
    """
    best, chosen = 0.0, JSON
    for part in accept.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = _read_weight(parameters)
        if media in FORMATS and weight > best:
            best, chosen = weight, media
    return chosen


def _read_weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
