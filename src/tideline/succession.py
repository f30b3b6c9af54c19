"""What the ledger says about who was champion when: the line of champions, withdrawn bundles, lost promotions."""

from __future__ import annotations

from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.ledger import Entry, Ledger
from tideline.pointer import Pointer

PROMOTED, ROLLED_BACK, ABANDONED = "promoted", "rolled back", "abandoned"
CANARY, SHADOW, ENDED, WITHDRAWN, ROUTED = "canary", "shadow", "ended", "withdrawn", "routed"
_MOVES = (PROMOTED, ROLLED_BACK, CANARY, SHADOW, ENDED, WITHDRAWN, ROUTED)


def list_moves(entries: tuple[Entry, ...]) -> list[Entry]:
    """The entries that moved the pointer, without abandoned ones."""
    abandoned = {e.evidence["seq"] for e in entries if e.action == ABANDONED}
    return [e for e in entries if e.action in _MOVES and e.seq not in abandoned]


def list_changes(entries: tuple[Entry, ...]) -> list[Entry]:
    """Those of them that made a version champion."""
    return [e for e in list_moves(entries) if e.action in (PROMOTED, ROLLED_BACK)]


def find_last_move(entries: tuple[Entry, ...]) -> int:
    """Number of the entry that the pointer should come from; 0 if there is none."""
    moves = list_moves(entries)
    return moves[-1].seq if moves else 0


def trace_line(entries: tuple[Entry, ...]) -> tuple[list[str], dict[str, Entry]]:
    """The line of champions (the present one last), and by digest the rollbacks that withdrew a bundle."""
    line: list[str] = []
    digests: dict[str, str] = {}
    withdrawn: dict[str, Entry] = {}
    for entry in list_changes(entries):
        digests[entry.version] = entry.digest
        withdrawn.pop(entry.digest, None)
        if entry.action == ROLLED_BACK and entry.version in line:
            kept = line.index(entry.version) + 1
            withdrawn |= {digests[v]: entry for v in line[kept:]}
            line = line[:kept]
        else:
            line.append(entry.version)
    return line, withdrawn


def find_lost(layout: Layout, ledger: Ledger, pointer: Pointer | None) -> Entry | None:
    """The last entry if the pointer was not moved after it.

    Raises TidelineError if pointer and ledger do not fit together in any other way.
    """
    moves = list_moves(ledger.entries)
    expected, found = moves[-1].seq if moves else 0, pointer.seq if pointer else 0
    if expected == found:
        return None
    before = moves[-2].seq if len(moves) > 1 else 0
    if moves and found == before and moves[-1] == ledger.entries[-1]:
        return moves[-1]
    raise TidelineError(
        f"{layout.registry}: champion.json comes from entry {found}, the ledger's last change is entry {expected}; "
        f"one of them was lost. Say which version is champion: `tideline rollback {layout.task} --to VERSION`"
    )


def check_withdrawn(entries: tuple[Entry, ...], digest: str) -> list[str]:
    """Why a bundle may not be promoted or tried (again), if it was rolled back, or withdrawn for what it did live."""
    about = [e for e in list_moves(entries) if e.digest == digest]
    entry = trace_line(entries)[1].get(digest)
    if entry is None and about and about[-1].action == WITHDRAWN:
        entry = about[-1]
    if entry is None:
        return []
    why = f" ({entry.reasons[0]})" if entry.reasons else ""
    return [
        f"this very bundle was {entry.action} on {entry.time}{why}; train another, or bring it back by name with "
        "`tideline rollback TASK --to VERSION`"
    ]


def check_moved(pointer: Pointer | None, against: str | None) -> list[str]:
    """Why a bundle that was made to succeed the version `against` is not offered to the present champion; empty if that
    one is champion still, or None was named."""
    present = pointer.version if pointer else "none"
    if against in (None, present):
        return []
    return [f"it was made to succeed {against}, but the champion is {present} by now: train another"]


def has_returned(entries: tuple[Entry, ...]) -> bool:
    """True if the champion was champion before, and left its place in between."""
    changes = list_changes(entries)
    return any(e.version == changes[-1].version for e in changes[:-1])


def list_withdrawn(entries: tuple[Entry, ...]) -> tuple[str, ...]:
    """Versions that came after the present champion, as its successor or beside it, and are withdrawn."""
    changes = list_changes(entries)
    if not changes:
        return ()
    first = next(e.seq for e in changes if e.version == changes[-1].version)
    later = {e.version: e.digest for e in list_moves(entries) if e.seq > first}
    return tuple(version for version, digest in later.items() if check_withdrawn(entries, digest))


def check_pointer(layout: Layout, ledger: Ledger, pointer: Pointer) -> None:
    """Raises TidelineError unless the ledger says of every version in the pointer what the pointer says of it."""
    place = f"{layout.registry}/champion.json"
    way_out = f"say which version is champion: `tideline rollback {layout.task} --to VERSION`"
    if not 0 < pointer.seq <= len(ledger.entries):
        raise TidelineError(
            f"{place} comes from entry {pointer.seq}, the ledger ends at {len(ledger.entries)}; {way_out}"
        )
    changes = list_changes(ledger.entries[: pointer.seq])
    champion = changes[-1] if changes else None
    if champion is None or (champion.version, champion.digest) != (pointer.version, pointer.digest):
        recorded = f"{champion.version} with digest {champion.digest}" if champion else "none"
        raise TidelineError(
            f"{place} names {pointer.version} with digest {pointer.digest}, the ledger's champion is {recorded}; "
            f"{way_out}"
        )
    for c in pointer.challengers:
        entry = ledger.entries[c.seq - 1] if 0 < c.seq <= pointer.seq else None
        if entry is None or (entry.action, entry.version, entry.digest) != (c.role, c.version, c.digest):
            raise TidelineError(
                f"{place} names {c.version} as {c.role} by entry {c.seq}, which the ledger does not say; {way_out}"
            )
