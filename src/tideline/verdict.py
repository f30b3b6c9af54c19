"""What came of an act on the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REFUSED, RESTORED, ALREADY = "refused", "restored", "already champion"


@dataclass(frozen=True)
class Verdict:
    """What was done to which version, why not, and the figures. `action` is that of the ledger entry."""

    action: str
    version: str
    digest: str
    reasons: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """False if the version was refused."""
        return self.action != REFUSED
