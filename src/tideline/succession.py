"""What the ledger says about who was champion when: the line of champions, withdrawn bundles, lost promotions."""

from __future__ import annotations

from tideline.champion import Pointer
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.ledger import Entry, Ledger

PROMOTED, ROLLED_BACK, ABANDONED = "promoted", "rolled back", "abandoned"


def list_changes(entries: tuple[Entry, ...]) -> list[Entry]:
    """The entries that made a version champion, without abandoned ones."""
    abandoned = {e.evidence["seq"] for e in entries if e.action == ABANDONED}
    return [e for e in entries if e.action in (PROMOTED, ROLLED_BACK) and e.seq not in abandoned]


def find_last_change(entries: tuple[Entry, ...]) -> int:
    """Number of the last such entry; 0 if there is none."""
    changes = list_changes(entries)
    return changes[-1].seq if changes else 0


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
    changes = list_changes(ledger.entries)
    expected, found = changes[-1].seq if changes else 0, pointer.seq if pointer else 0
    if expected == found:
        return None
    before = changes[-2].seq if len(changes) > 1 else 0
    if changes and found == before and changes[-1] == ledger.entries[-1]:
        return changes[-1]
    raise TidelineError(
        f"{layout.registry}: champion.json comes from entry {found}, the ledger's last change is entry {expected}; "
        f"one of them was lost. Say which version is champion: `tideline rollback {layout.task} --to VERSION`"
    )


def check_withdrawn(entries: tuple[Entry, ...], digest: str) -> list[str]:
    """Why a bundle may not be promoted (again), if it was rolled back."""
    entry = trace_line(entries)[1].get(digest)
    if entry is None:
        return []
    why = f" ({entry.reasons[0]})" if entry.reasons else ""
    return [
        f"this very bundle was rolled back on {entry.time}{why}; train another, or bring it back by name with "
        "`tideline rollback TASK --to VERSION`"
    ]
