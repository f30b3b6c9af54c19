"""The A/B report: what champion and challengers did live since the trial began, with intervals."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from tideline.bandit import estimate_regret, share_requests
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.live_gate import Live, judge_live
from tideline.pointer import Pointer, read_pointer
from tideline.predlog import Estimate, Store, Tally, store_url
from tideline.predlog.live import bound_mean, bound_root, bound_share

DAY = 86_400 * 10**6  # µs


def measure_trial(store: Store, layout: Layout, pointer: Pointer) -> dict[str, Any]:
    """What is known of the running trial, JSON-ready: since, router, regret, and each version's figures and verdict.

    Without challengers: the champion's figures over the last day. Raises StoreUnavailable.
    """
    since = min((c.since for c in pointer.challengers), default=time.time_ns() // 1000 - DAY)
    roles = [(pointer.version, "champion"), *((c.version, c.role) for c in pointer.challengers)]
    found = {(t.version, t.role): t for t in store.tally(layout.task, since)}
    tallies = [found.get(key) or Tally(*key, 0) for key in roles]
    # Requests wait for each other's batches: how long versions take, the server measures side by side.
    champion, versions = Live(tallies[0].loss), []
    for t in tallies:
        challenger = pointer.find(t.version)
        against = judge_live(champion, Live(t.loss), challenger.margins) if challenger else []
        versions.append({"version": t.version, "role": t.role, **_describe_figures(t), "against": against})
    trial: dict[str, Any] = {"since": since, "router": pointer.router, "versions": versions}
    answering = [t for t in tallies if t.role != "shadow"]
    if len(answering) > 1:
        trial["regret"] = estimate_regret([t.loss for t in answering], [t.predictions for t in answering])
        canaries = [c.share for c in pointer.challengers if c.role == "canary"]
        is_bandit = pointer.router == "bandit"
        shares = share_requests([t.loss for t in answering]) if is_bandit else [1 - sum(canaries), *canaries]
        trial["shares"] = {t.version: share for t, share in zip(answering, shares, strict=True)}
    return trial


def describe_trial(layout: Layout, version: str) -> dict[str, Any]:
    """The trial as evidence for the ledger; without a store there is none to show.

    Raises TidelineError if the version does not exist or the store is away.
    """
    pointer, store = _read(layout), Store(store_url(layout.root))
    if store.database.file is not None and not store.database.file.exists():
        return {"versions": []}
    with store:
        return measure_trial(store, layout, pointer)


def describe_live(layout: Layout) -> str:
    """The report for a terminal. Raises TidelineError if there is no champion or no store."""
    pointer, store = _read(layout), Store(store_url(layout.root))
    file = store.database.file
    if file is not None and not file.exists():
        raise TidelineError(f"no store at {file}; a server begins it, or set TIDELINE_STORE_URL to the one you mean")
    with store:
        trial = measure_trial(store, layout, pointer)
        covered = {(e.version, e.role): e.coverage for e in store.live_error(layout.task, trial["since"])}
    lines = [f"{layout.task}: champion {pointer.version}" + ("" if pointer.challengers else ", no challengers")]
    for v in trial["versions"]:
        share = trial.get("shares", {}).get(v["version"])
        role = v["role"] if share is None else f"{v['role']}, {share:.0%} of the requests"
        lines.append(f"  {v['version']}  {role}: {v['predictions']:,} predictions, {v['labelled']:,} labelled")
        lines += [f"      {name:12s}{_describe_estimate(v[name])}" for name in ("rmse", "mae", "accuracy") if v[name]]
        coverage = covered.get((v["version"], v["role"]), {})
        lines += [f"      inside {float(level):.0%}  {_describe_estimate(asdict(e))}" for level, e in coverage.items()]
        if v["latency_us"]:
            lines.append(f"      {'latency':12s}{v['latency_us']:,.0f} µs")
        lines += [f"      against it: {reason}" for reason in v["against"]]
    if trial.get("regret") is not None:
        lines.append(f"  regret so far: {trial['regret']:,.6g} (loss above that of the version that looks best)")
    return "\n".join(lines)


def _read(layout: Layout) -> Pointer:
    pointer = read_pointer(layout)
    if pointer is None:
        raise TidelineError(f"{layout.task} has no champion; `make run TASK={layout.task}` builds and promotes one")
    return pointer


def _describe_figures(t: Tally) -> dict[str, Any]:
    estimates: dict[str, Estimate | None] = dict.fromkeys(("rmse", "mae", "accuracy"))
    if t.loss.n and t.is_share:
        estimates["accuracy"] = bound_share(1 - t.loss.mean, t.loss.n)
    elif t.loss.n:
        estimates |= {"rmse": bound_root(t.square), "mae": bound_mean(t.loss)}
    told = {name: asdict(e) if e else None for name, e in estimates.items()}
    latency = t.latency.mean if t.latency.n else None
    return {"predictions": t.predictions, "labelled": t.loss.n, **told, "latency_us": latency}


def _describe_estimate(estimate: dict[str, Any]) -> str:
    e = Estimate(**estimate)
    return f"{e.value:,.6g}" + ("" if e.low is None else f"  (95 %: {e.low:,.6g} to {e.high:,.6g})")
