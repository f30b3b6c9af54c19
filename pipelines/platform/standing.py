"""How the tasks stand: champion, challengers and the monitor's last verdict, as the page shows them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tideline.champion import read_manifest
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.pointer import read_pointer
from tideline.predlog import SKEW, Store, store_url

_FRESH_SECONDS = 2.0


class Standing:
    """Reads registry and store, at most once in two seconds; nothing is kept open. For one thread at a time."""

    def __init__(self, root: Path, tasks: Sequence[str]) -> None:
        self._root, self._tasks = root, tasks
        self._read_at, self._known = float("-inf"), list[dict[str, Any]]()

    def read(self) -> list[dict[str, Any]]:
        """A JSON-ready record for each task."""
        if time.monotonic() - self._read_at > _FRESH_SECONDS:
            self._known = [_describe(Layout(task, self._root)) for task in self._tasks]
            self._read_at = time.monotonic()
        return self._known


def _describe(layout: Layout) -> dict[str, Any]:
    """What cannot be read is said in its place: the page has to show the rest."""
    record: dict[str, Any] = {"task": layout.task, "report": (layout.reports / "report.html").is_file()}
    try:
        record |= _describe_champion(layout)
    except TidelineError as error:
        record["error"] = str(error)
    try:
        record["verdict"] = _describe_verdict(layout)
    except TidelineError as error:
        record["verdict_error"] = str(error)
    return record


def _describe_champion(layout: Layout) -> dict[str, Any]:
    pointer = read_pointer(layout)
    if pointer is None:
        return {"champion": None}
    manifest = read_manifest(layout, pointer.version)
    return {
        "champion": pointer.version,
        "model": manifest.model,
        "title": manifest.title,
        "built": manifest.created,
        "simulated": bool(manifest.provenance.get("simulated")),
        "challengers": [{"version": c.version, "role": c.role, "share": c.share} for c in pointer.challengers],
    }


def _describe_verdict(layout: Layout) -> dict[str, Any] | None:
    """None if the monitor has not judged yet. Read from the store itself: the monitor would load its statistics."""
    with Store(store_url(layout.root)) as store:
        file = store.database.file
        if file is not None and not file.exists():
            return None
        verdicts = store.list_verdicts(layout.task, limit=1, until=time.time_ns() // 1000 + SKEW)
    if not verdicts:
        return None
    last = verdicts[0]
    breached = [check for check in json.loads(last.verdict)["checks"] if check["breached"]]
    breached.sort(key=lambda check: not check["alarm"])
    return {
        "status": last.status, "version": last.version, "judged": last.judged, "rows": last.rows,
        "breaches": [{name: check[name] for name in ("subject", "test", "alarm")} for check in breached[:5]],
    }  # fmt: skip
