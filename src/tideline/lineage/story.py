"""The whole story of a version, from ledger, manifest, lineage and the store: JSON-ready."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tideline.bookkeeping import ledger_file
from tideline.champion import list_versions, read_manifest, versions_folder
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.ledger import Entry, read_ledger
from tideline.lineage.graph_lock import list_outs
from tideline.lineage.kept import Lineage, read_lineage
from tideline.lineage.periods import Period, list_periods
from tideline.lineage.sandbox import list_sources
from tideline.succession import ABANDONED, CANARY, PROMOTED
from tideline.verdict import REFUSED

if TYPE_CHECKING:
    from tideline.predlog import Store

JUDGED = (REFUSED, PROMOTED, CANARY)
VERDICTS = 1000  # of the monitor, the latest, that are counted


def tell_story(layout: Layout, name: str) -> dict[str, Any]:
    """Everything that is known of a version. Raises TidelineError that names near versions if there is none."""
    version = find_near(layout, name)
    ledger = read_ledger(ledger_file(layout))
    manifest, notes = read_manifest(layout, version), [ledger.damage] if ledger.damage else []
    lineage = _read(layout, version, ledger.entries, notes)
    before = _find_before(layout, version)
    about = _list_about(ledger.entries, version)
    story: dict[str, Any] = {
        "task": layout.task,
        "version": version,
        "digest": next((e.digest for e in about), None),
        "model": manifest.model,
        "made": manifest.created,
        "data": {**manifest.provenance, "split": manifest.hashes.get("split"), **_tell_sources(layout, lineage)},
        "hashes": dict(manifest.hashes),
        "before": before,
        "changes": _compare(layout, version, before, lineage, ledger.entries, notes) if before else None,
        "training": {
            "winner": manifest.model,
            "leaderboard": dict(manifest.metrics.get("cv", {})),
            "metric": next((e.evidence["metric"] for e in about if "metric" in e.evidence), None),
            "test": {k: v for k, v in manifest.metrics.get("test", {}).items() if not isinstance(v, Mapping)},
            "parity": dict(manifest.parity),
            "device": manifest.device,
        },
        "gate": [_tell_gate(e) for e in about if e.action in JUDGED and "challenger" in e.evidence],
        "periods": _tell_periods(layout, version, ledger.entries, notes),
        "lineage": None if lineage is None else {"path": str(lineage.path), "graph": lineage.stages is not None},
        "notes": notes,
    }
    if lineage is not None:
        notes += lineage.notes
    return story


def find_near(layout: Layout, name: str) -> str:
    """The version of that name, or of the part before the dash. Raises TidelineError that names the nearest ones."""
    versions = list_versions(layout)
    found = [v for v in versions if name in (v, v.split("-")[0])]
    if len(found) == 1:
        return found[0]
    if not versions:
        raise TidelineError(f"{layout.task} has no versions yet; `make run TASK={layout.task}` makes and promotes one")
    short = {v.split("-")[0]: v for v in versions} | {v: v for v in versions}
    near = dict.fromkeys(short[key] for key in difflib.get_close_matches(name, short, n=4, cutoff=0.4))
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(versions)}"
    raise TidelineError(f"{layout.task} has no version {name!r}; {hint}")


def flatten(value: Any, place: str = "") -> dict[str, Any]:
    """`{"gate": {"confidence": 0.95}}` as `{"gate.confidence": 0.95}`."""
    if isinstance(value, Mapping) and value:
        return {k: v for key in value for k, v in flatten(value[key], f"{place}.{key}".lstrip(".")).items()}
    return {place: value}


def _read(layout: Layout, version: str, entries: tuple[Entry, ...], notes: list[str]) -> Lineage | None:
    try:
        lineage = read_lineage(layout, version, entries)
    except TidelineError as error:
        notes.append(str(error))  # a story is told with what is left
        return None
    if lineage is None:
        notes.append(f"{version} entered the registry before its parameters and dvc.lock were kept")
    return lineage


def _find_before(layout: Layout, version: str) -> str | None:
    versions = list_versions(layout)
    place = versions.index(version)
    return versions[place - 1] if place else None


def _list_about(entries: tuple[Entry, ...], version: str) -> list[Entry]:
    """Entries of the version, and those of its bundle before it had a name; none whose writer was stopped."""
    digests = {e.digest for e in entries if e.version == version}
    lost = {e.evidence["seq"] for e in entries if e.action == ABANDONED}
    return [e for e in entries if e.digest in digests and e.seq not in lost and e.action != ABANDONED]


def _tell_sources(layout: Layout, lineage: Lineage | None) -> dict[str, Any]:
    if lineage is None or lineage.stages is None:
        return {}
    sources = {i.path: {"md5": i.md5, "bytes": i.size, "files": i.files} for i in list_sources(layout, lineage.stages)}
    return {"snapshots": sources, "outputs": len(list_outs(lineage.stages))}


def _compare(
    layout: Layout, version: str, before: str, lineage: Lineage | None, entries: tuple[Entry, ...], notes: list[str]
) -> dict[str, Any]:
    """What differs from the version before: parameters (then, now), data, code, packages."""
    if not (versions_folder(layout) / before).is_dir():
        return {}
    now, then = read_manifest(layout, version), read_manifest(layout, before)
    told: dict[str, Any] = {key: now.hashes.get(key) != then.hashes.get(key) for key in ("data", "split", "code")}
    told["rows"] = [then.provenance.get("rows"), now.provenance.get("rows")]
    names = sorted({*now.versions, *then.versions})
    pairs = {name: [then.versions.get(name), now.versions.get(name)] for name in names}
    told["packages"] = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    older = _read(layout, before, entries, notes)
    if lineage is None or older is None or lineage.params is None or older.params is None:
        same = now.hashes.get("params") == then.hashes.get("params")
        return {**told, "params": {} if same else None}
    old, new = flatten(older.read_params()), flatten(lineage.read_params())
    changed = {key: [old.get(key), new.get(key)] for key in sorted({*old, *new}) if old.get(key) != new.get(key)}
    return {**told, "params": changed}


def _tell_gate(entry: Entry) -> dict[str, Any]:
    kept = ("metric", "challenger", "champion", "champion_version", "naive", "gain_over_champion", "gain_over_naive")
    told = {
        key: entry.evidence[key]
        for key in (*kept, "holdout", "test", "latency_us", "fresh", "retraining")
        if key in entry.evidence
    }
    slices = [s for s in entry.evidence.get("slices", ()) if s.get("judged")]
    worst = max(slices, key=lambda s: s["change"], default=None)
    head = {"seq": entry.seq, "time": entry.time, "action": entry.action, "reasons": list(entry.reasons)}
    return {**head, **told, "worst_slice": worst}


def _tell_periods(layout: Layout, version: str, entries: tuple[Entry, ...], notes: list[str]) -> list[dict[str, Any]]:
    from tideline.predlog import Store, StoreUnavailable, store_url

    periods = [asdict(period) | {"period": period} for period in list_periods(entries, version)]
    store = Store(store_url(layout.root.absolute()))
    file = store.database.file
    if file is None or file.exists():
        try:
            with store:
                for told in periods:
                    told |= _measure(store, layout, version, told["period"])
        except StoreUnavailable as error:
            notes.append(f"the prediction log could not be asked: {error}")
    else:
        notes.append("there is no prediction log here: nothing is known of live figures but what the ledger holds")
    return [{key: value for key, value in told.items() if key != "period"} for told in periods]


def _measure(store: Store, layout: Layout, version: str, period: Period) -> dict[str, Any]:
    """Live figures of the period, and how the monitor judged the windows that ended in it."""
    since, until = _micros(period.since), _micros(period.until) if period.until else None
    found = [e for e in store.live_error(layout.task, since, until) if (e.version, e.role) == (version, period.role)]
    verdicts: dict[str, int] = {}
    for v in store.list_verdicts(layout.task, version, VERDICTS):
        time = v.last if v.last is not None else v.judged
        if time >= since and (until is None or time < until):
            verdicts[v.status] = verdicts.get(v.status, 0) + 1
    return {"figures": asdict(found[0]) if found else None, "verdicts": verdicts}


def _micros(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp() * 1e6)
