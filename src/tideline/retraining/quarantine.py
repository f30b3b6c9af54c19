"""Windows of the log that may not be learnt from: data/<task>/quarantine/<window>/, rows and reasons.

Their rows are not collected again, so that later windows are judged by themselves; nor are rows of the same faulty time
whose labels come later (`quality.find_late`). After one was looked into (and its
labels corrected) remove its folder: its rows are collected and judged anew. Remove only its data.parquet, and what the
monitor said of its time does not count any more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
    if (layout.quarantine / name / DATA).is_file():
        return name
    with writing(layout):
        settle(layout)
        evidence = {"window": name, "rows": len(window), "champion_version": champion}
        append_entry(ledger_file(layout), QUARANTINED, "", digest, reasons, evidence)
    try:
        with replace_folder(layout.quarantine / name) as folder:
            window.to_parquet(folder / DATA, index=False)
            first, last = int(window[TIME].min()), int(window[TIME].max())
            record = {"window": name, "rows": len(window), "first": first, "last": last, "champion": champion,
                      "reasons": list(reasons)}  # fmt: skip
            (folder / REASONS).write_text(json.dumps(record, indent=1) + "\n")
    except OSError as error:
        raise TidelineError(f"{layout.quarantine / name} cannot be written ({error.strerror}); make room") from error
    return name


def list_ids(layout: Layout) -> set[str]:
    """The predictions that are in quarantine."""
    files = sorted(layout.quarantine.glob(f"*/{DATA}"))
    return {name for file in files for name in pd.read_parquet(file, columns=[ID])[ID]}


def list_times(layout: Layout) -> list[NDArray[np.int64]]:
    """Times (µs since 1970-01-01 UTC, in order) of the rows of each window in quarantine."""
    files = sorted(layout.quarantine.glob(f"*/{DATA}"))
    return [np.sort(pd.read_parquet(file, columns=[TIME])[TIME].to_numpy(np.int64)) for file in files]


def list_released(layout: Layout) -> list[tuple[int, int]]:
    """First and last time (µs since 1970-01-01 UTC) of the windows whose rows a person gave back: reasons without rows.
    Raises TidelineError if one is damaged."""
    spans = []
    for file in sorted(layout.quarantine.glob(f"*/{REASONS}")):
        if (file.parent / DATA).exists():
            continue
        try:
            record = json.loads(file.read_bytes())
            spans.append((int(record["first"]), int(record["last"])))
        except (ValueError, KeyError, TypeError) as error:
            raise TidelineError(
                f"{file} cannot be read ({error!r}); remove {file.parent}, then its rows are judged anew"
            ) from None
    return spans
