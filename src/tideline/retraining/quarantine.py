"""Windows of the log that may not be learnt from: data/<task>/quarantine/<window>/, rows and reasons.

Their rows are not collected again, so that later windows are judged by themselves. To release one after it was looked
into (and its labels corrected), remove its folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import pandas as pd

from tideline.bookkeeping import ledger_file, settle, writing
from tideline.contracts import TidelineError
from tideline.data_frame import hash_frame
from tideline.files import replace_folder
from tideline.labelled import DATA, ID, TIME
from tideline.layout import Layout
from tideline.ledger import append_entry

QUARANTINED = "quarantined"
REASONS = "reasons.json"


def name_window(window: pd.DataFrame) -> str:
    """First and last time (UTC), and the beginning of the rows' hash."""
    first, last = (
        datetime.fromtimestamp(int(t) / 1e6, UTC).strftime("%Y%m%dT%H%M%S")
        for t in (window[TIME].min(), window[TIME].max())
    )
    return f"{first}-{last}-{hash_frame(window)[:8]}"


def set_aside(layout: Layout, window: pd.DataFrame, reasons: Sequence[str], champion: str, digest: str) -> str:
    """Write the window with its reasons, and record that in the ledger; its name. Once done, nothing is done again.

    Raises TidelineError if it cannot be written, or the registry is damaged or held.
    """
    name = name_window(window)
    if (layout.quarantine / name / REASONS).is_file():
        return name
    with writing(layout):
        settle(layout)
        evidence = {"window": name, "rows": len(window), "champion_version": champion}
        append_entry(ledger_file(layout), QUARANTINED, "", digest, reasons, evidence)
    try:
        with replace_folder(layout.quarantine / name) as folder:
            window.to_parquet(folder / DATA, index=False)
            record = {"window": name, "rows": len(window), "champion": champion, "reasons": list(reasons)}
            (folder / REASONS).write_text(json.dumps(record, indent=1) + "\n")
    except OSError as error:
        raise TidelineError(f"{layout.quarantine / name} cannot be written ({error.strerror}); make room") from error
    return name


def list_ids(layout: Layout) -> set[str]:
    """The predictions that are in quarantine."""
    files = sorted(layout.quarantine.glob(f"*/{DATA}"))
    return {name for file in files for name in pd.read_parquet(file, columns=[ID])[ID]}
