"""An append-only ledger: one JSON line an entry, each chained to the one before it by its hash.

A line counts once its newline is written. Bytes after the last newline are an entry whose writing was cut off: readers
report them, and the next writer keeps them in a file beside the ledger and records that. Anything else that does not
fit the chain is an alteration, and refused by line.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tideline.bundle import sync_folder, write_durably
from tideline.contracts import TidelineError

START = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One recorded act. `previous` is the `hash` of the entry before it, `hash` the sha256 of all other fields."""

    seq: int
    time: str
    action: str
    version: str
    digest: str
    reasons: tuple[str, ...]
    evidence: Mapping[str, Any]
    previous: str
    hash: str


@dataclass(frozen=True)
class Ledger:
    """What a ledger file holds: its entries, and the bytes of a last entry that was cut off."""

    path: Path
    entries: tuple[Entry, ...] = ()
    tail: bytes = field(default=b"", repr=False)

    @property
    def damage(self) -> str:
        """A sentence about a cut-off last line; empty if there is none."""
        if not self.tail:
            return ""
        return (
            f"{self.path}, line {len(self.entries) + 1}: cut off after {len(self.tail)} bytes (its writer stopped); "
            "the entry does not count, the next promotion or rollback sets it aside and records that"
        )


def read_ledger(path: Path) -> Ledger:
    """Read and verify a ledger; an absent file is an empty one.

    Raises TidelineError that names the line which does not fit the chain.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Ledger(path)
    *lines, tail = content.split(b"\n")
    entries: list[Entry] = []
    for number, line in enumerate(lines, start=1):
        entry = _parse(line, f"{path}, line {number}")
        previous = entries[-1].hash if entries else START
        if entry.seq != number or entry.previous != previous:
            raise _altered(f"{path}, line {number}", "it does not follow from the line before it")
        entries.append(entry)
    return Ledger(path, tuple(entries), tail)


def append_entry(
    path: Path,
    action: str,
    version: str,
    digest: str,
    reasons: Sequence[str] = (),
    evidence: Mapping[str, Any] | None = None,
) -> Entry:
    """Append one entry and wait until it is on the disk. The caller holds the lock (file_lock.py)."""
    ledger = read_ledger(path)
    if ledger.tail:
        _set_aside(ledger)
        ledger = read_ledger(path)
    body = {
        "seq": len(ledger.entries) + 1,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "action": action,
        "version": version,
        "digest": digest,
        "reasons": list(reasons),
        "evidence": dict(evidence or {}),
        "previous": ledger.entries[-1].hash if ledger.entries else START,
    }
    line = _canonical({**body, "hash": _hash(body)})
    is_new = not path.exists()
    with path.open("ab") as file:
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        sync_folder(path.parent)
    return _parse(line, str(path))


def _set_aside(ledger: Ledger) -> None:
    kept = ledger.path.with_name(f"{ledger.path.stem}.cut-off-{len(ledger.entries) + 1}")
    write_durably(kept, ledger.tail)
    os.truncate(ledger.path, ledger.path.stat().st_size - len(ledger.tail))
    evidence = {"bytes": len(ledger.tail), "sha256": hashlib.sha256(ledger.tail).hexdigest(), "kept_in": kept.name}
    append_entry(ledger.path, "recovered", "", "", [ledger.damage], evidence)


def _parse(line: bytes, place: str) -> Entry:
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError):
        raise _altered(place, "it is not JSON") from None
    if not isinstance(raw, dict) or set(raw) != {f.name for f in fields(Entry)}:
        raise _altered(place, "it does not hold the fields of an entry")
    if _canonical(raw) != line or _hash({k: v for k, v in raw.items() if k != "hash"}) != raw["hash"]:
        raise _altered(place, "its hash does not match")
    return Entry(**{**raw, "reasons": tuple(raw["reasons"])})


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _hash(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(body)).hexdigest()


def _altered(place: str, reason: str) -> TidelineError:
    return TidelineError(
        f"{place} was altered: {reason}. Restore the ledger from a backup; if there is none, move it aside "
        "and name the champion again with `tideline rollback TASK --to VERSION`"
    )
