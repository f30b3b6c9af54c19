"""Every decision, every end of a retraining, and that it was told: one JSON line each, on the disk before anything
follows from it.

A line counts once its newline is written; a last line that was cut off is dropped by the next writer, since nothing
followed from it. Times are µs since 1970-01-01 UTC.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, Literal

from tideline.contracts import TidelineError

Event = Literal["wait", "begin", "end", "aside", "told"]
WAIT: Final = "wait"
BEGIN: Final = "begin"
END: Final = "end"
ASIDE: Final = "aside"  # a quarantine outside of a retraining: it ends none
TOLD: Final = "told"
QUARANTINED: Final = "quarantined"
FAILED: Final = "failed"
SUPERSEDED: Final = "superseded"  # it was begun for another champion, and killed
UNJUDGED = (QUARANTINED, FAILED, SUPERSEDED)


@dataclass(frozen=True)
class Line:
    """One event. key: see `guard.Facts`. outcome: of an end, told or not, such as "promoted", "refused" or
    "quarantined"."""

    time: int
    event: Event
    key: str
    trigger: str
    reasons: tuple[str, ...]
    outcome: str
    facts: dict[str, Any]


def append_line(path: Path, line: Line) -> None:
    """Add a line and wait until it is on the disk. For one writer at a time (single flight)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = path.read_bytes() if path.exists() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    with path.open("ab") as file:
        file.write(json.dumps(line.__dict__, separators=(",", ":")).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[Line]:
    """All of them, the oldest first. Raises TidelineError that names a line which cannot be read."""
    content = path.read_bytes() if path.exists() else b""
    lines = []
    for number, text in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            raw = json.loads(text)
            lines.append(Line(**{**raw, "reasons": tuple(raw["reasons"])}))
        except (ValueError, TypeError, KeyError) as error:
            raise TidelineError(
                f"{path}, line {number} cannot be read ({error}); move the file aside, a new one is begun"
            ) from error
    return lines


def list_finished(lines: Sequence[Line]) -> tuple[int, ...]:
    """Times of retrainings that came to the gate, whatever it said."""
    return tuple(line.time for line in lines if line.event == END and line.outcome not in UNJUDGED)


def list_failed(lines: Sequence[Line]) -> tuple[int, ...]:
    """Times of the failures since a retraining ended otherwise."""
    ends = [line for line in lines if line.event == END]
    lately = list(takewhile(lambda line: line.outcome == FAILED, reversed(ends)))
    return tuple(line.time for line in reversed(lately))


def find_done(lines: Sequence[Line], key: str) -> str:
    """How the retraining under this key ended; "" if it did not, or ended before the gate judged it."""
    return next((x.outcome for x in lines if x.event == END and x.key == key and x.outcome not in UNJUDGED), "")


def count_refused(lines: Sequence[Line], champion: str) -> int:
    """Usable labelled rows that there were when the gate last refused one against this champion: a few more would not
    change its mind."""
    refused = (x.facts for x in lines if x.event == END and x.outcome == "refused")
    return max((int(x.get("usable", 0)) for x in refused if x["champion"] == champion), default=0)


def find_unfinished(lines: Sequence[Line]) -> Line | None:
    """The last beginning, if nothing ended after it."""
    for line in reversed(lines):
        if line.event == END:
            return None
        if line.event == BEGIN:
            return line
    return None


def count_begun(lines: Sequence[Line]) -> int:
    """Beginnings since the last end: all of them were killed, or the last is under way."""
    since = takewhile(lambda line: line.event != END, reversed(lines))
    return sum(line.event == BEGIN for line in since)


def find_untold(lines: Sequence[Line]) -> Line | None:
    """The last end, or quarantine outside of a retraining, if nobody was told of it."""
    last = next((line for line in reversed(lines) if line.event in (END, ASIDE, TOLD)), None)
    return last if last is not None and last.event != TOLD else None


def find_begun(lines: Sequence[Line], end: Line) -> Line | None:
    """The beginning that an end belongs to."""
    before = lines[: lines.index(end)]
    return next((line for line in reversed(before) if line.event == BEGIN), None)
