"""The A/B report: what champion and challengers did live since their trials began, with intervals."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from tideline.bandit import estimate_regret, share_requests
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.live_gate import Live, judge_live
from tideline.live_tally import TrialTallies
from tideline.pointer import Pointer, read_pointer
from tideline.predlog import Estimate, Store, Tally, store_url
from tideline.predlog.live import bound_mean, bound_root, bound_share

DAY = 86_400 * 10**6  # µs
SCORES = ("rmse", "mae", "accuracy")


def measure_trial(store: Store, layout: Layout, pointer: Pointer) -> dict[str, Any]:
    """What is known of the running trials, JSON-ready: since, router, regret, and each version's figures and verdict.

    The champion's figures are those since the first trial began, a challenger's since its own did, with the champion's
    since then beside them. Shares and regret are counted from when the last canary began. Without challengers: the
    champion's figures over the last day. Raises StoreUnavailable.
    """
    since = min((c.since for c in pointer.challengers), default=time.time_ns() // 1000 - DAY)
    if not pointer.challengers:
        found = {(t.version, t.role): t for t in store.tally(layout.task, since)}
        own = found.get((pointer.version, "champion")) or Tally(pointer.version, "champion", 0)
        return {"since": since, "router": pointer.router, "versions": [_describe_version(own, since)]}
    tallies = TrialTallies(store, layout.task, pointer)
    first = min(pointer.challengers, key=lambda c: c.since)
    versions = [_describe_version(tallies.compare(first)[0], since)]
    for challenger in pointer.challengers:
        champion, own = tallies.compare(challenger)
        # Requests wait for each other's batches: how long versions take, the server measures side by side.
        against = judge_live(Live(champion.loss), Live(own.loss), challenger.margins)
        beside = {"champion": _describe_figures(champion)}
        versions.append({**_describe_version(own, challenger.since), "against": against, **beside})
    trial: dict[str, Any] = {"since": since, "router": pointer.router, "versions": versions}
    canaries = [c.share for c in pointer.challengers if c.role == "canary"]
    if canaries:
        answering = tallies.list_answering()
        trial["regret"] = estimate_regret([t.loss for t in answering], [t.predictions for t in answering])
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
        covered = {
            (e.version, e.role, since): e.coverage
            for since in {v["since"] for v in trial["versions"]}
            for e in store.live_error(layout.task, since)
        }
    lines = [f"{layout.task}: champion {pointer.version}" + ("" if pointer.challengers else ", no challengers")]
    for v in trial["versions"]:
        share = trial.get("shares", {}).get(v["version"])
        role = v["role"] if share is None else f"{v['role']}, {share:.0%} of the requests"
        lines.append(f"  {v['version']}  {role}: {v['predictions']:,} predictions, {v['labelled']:,} labelled")
        lines += [f"      {name:12s}{_describe_estimate(v[name])}" for name in SCORES if v[name]]
        if v["since"] != trial["since"]:  # it began later than another
            scores = ", ".join(
                f"{name} {_describe_estimate(v['champion'][name])}" for name in SCORES if v["champion"][name]
            )
            lines.append(f"      the champion since then: {scores or 'no label'}")
        coverage = covered.get((v["version"], v["role"], v["since"]), {})
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


def _describe_version(t: Tally, since: int) -> dict[str, Any]:
    return {"version": t.version, "role": t.role, "since": since, **_describe_figures(t), "against": []}


def _describe_figures(t: Tally) -> dict[str, Any]:
    estimates: dict[str, Estimate | None] = dict.fromkeys(SCORES)
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
