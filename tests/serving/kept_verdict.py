"""A verdict of the monitor in a server's store."""

from __future__ import annotations

from tests.predlog.samples import START
from tideline.monitor.records import Check, Errors, WindowVerdict
from tideline.predlog import Store, StoredVerdict

SECOND = 1_000_000


def keep_verdict(store: Store, version: str, status: str = "alarm", effect: float = 0.3, last: int = START) -> None:
    """A verdict on a window of 200 rows, as the monitor keeps it."""
    checks = (
        Check("column", "income", "psi", "drift", 0.1, 0.5, 0.05, 0.2, adjusted=1.0),
        Check("column", "bed rooms", "missing_share", "quality", 0.4, 0, effect, 0.02, 0, True, 1, status == "alarm"),
        Check("answer", "prediction", "ks", "drift", 0.1, 0.5, float("inf"), 0.1),
    )  # fmt: skip
    errors = Errors(labelled=50, realised=12.5, reference=10.0, estimated=11.0, coverage={"0.8": 0.75})
    verdict = WindowVerdict(
        "toy", version, last + SECOND, 200, last - 200 * SECOND, last, status, checks, errors, 0.01, 3, ("psi",)  # type: ignore[arg-type]
    )  # fmt: skip
    store.save_verdict(
        StoredVerdict("toy", version, verdict.judged, verdict.first, last, 200, status, verdict.to_json())
    )
