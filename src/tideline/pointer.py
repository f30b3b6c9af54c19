"""The one file that says who serves a task: the champion, its challengers, and how requests are shared among them.

It is swapped as a whole, so that a reader sees one state or the next, never half of each.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tideline.bundle import sync_folder, to_json, write_durably
from tideline.contracts import TidelineError
from tideline.layout import Layout

ChallengerRole = Literal["canary", "shadow"]
RouterKind = Literal["split", "bandit"]


class Margins(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much worse than the champion a challenger may do before it is withdrawn.

    error, latency: as a share of the champion's. failures: difference of the shares of requests that failed.
    confidence: that it is worse indeed, at whichever moment one looks. least: labels, or answers, before it is judged.
    """

    error: float = 0.05
    latency: float = 0.5
    failures: float = 0.01
    confidence: float = 0.95
    least: int = 30


class Challenger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version beside the champion. share: of requests that it answers (canary). since: µs since 1970-01-01 UTC.
    seq: its ledger entry. places: which sticky keys are its own (places.py); empty in pointers of older versions."""

    version: str
    digest: str
    role: ChallengerRole
    share: float
    since: int
    seq: int
    margins: Margins = Margins()
    places: tuple[tuple[float, float], ...] = ()


class Pointer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What champion.json says: the champion's version and digest, and the ledger entry that wrote this state."""

    version: str
    digest: str
    seq: int
    challengers: tuple[Challenger, ...] = ()
    router: RouterKind = "split"

    def find(self, version: str) -> Challenger | None:
        """The challenger of that version."""
        return next((c for c in self.challengers if c.version == version), None)


def read_pointer(layout: Layout) -> Pointer | None:
    """The pointer; None if nothing was ever promoted. Raises TidelineError if it is damaged."""
    place = layout.registry / "champion.json"
    try:
        return msgspec.json.decode(place.read_bytes(), type=Pointer)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TidelineError(
            f"{place} cannot be read ({error}); name the champion again: `tideline rollback {layout.task} --to VERSION`"
        ) from error


def move_pointer(layout: Layout, pointer: Pointer) -> None:
    """Swap champion.json; it is on the disk when this returns."""
    place = layout.registry / "champion.json"
    temporary = place.with_name(".champion.json.tmp")
    write_durably(temporary, to_json(msgspec.to_builtins(pointer), str(place)))
    temporary.replace(place)
    sync_folder(place.parent)
