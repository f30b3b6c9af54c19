"""The story of a version in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def describe_story(story: Mapping[str, Any]) -> str:
    """A page for a terminal."""
    parts = [
        [f"{story['task']} {story['version']}: {story['model']}, made {story['made']}"],
        ["Data", *_describe_data(story["data"])],
        ["What differs from the version before", *_describe_changes(story["before"], story["changes"])],
        ["Training", *_describe_training(story["training"])],
        ["The gate", *([line for gate in story["gate"] for line in _describe_gate(gate)] or ["it was never judged"])],
        ["Its life", *([line for p in story["periods"] for line in _describe_period(p)] or ["it never served"])],
    ]
    if story["notes"]:
        parts.append(["Notes", *story["notes"]])
    return "\n\n".join("\n".join([head, *(f"  {line}" for line in lines)]) for head, *lines in parts)


def _describe_data(data: Mapping[str, Any]) -> list[str]:
    kind = "SIMULATED rows" if data.get("simulated") else "real rows"
    lines = [
        f"{data.get('rows', 0):,} {kind} from source {data.get('source')!r}, sha256 {str(data.get('sha256'))[:16]}"
    ]
    lines.append(f"split {str(data.get('split'))[:16]}")
    lines += [
        f"{path}: {item['files']} files, {item['bytes'] / 1e6:,.1f} MB, md5 {item['md5']}"
        for path, item in data.get("snapshots", {}).items()
    ]
    return lines


def _describe_changes(before: str | None, changes: Mapping[str, Any] | None) -> list[str]:
    if before is None or not changes:
        return ["it is the first"]
    lines = [f"the version before is {before}"]
    if changes["params"] is None:
        lines.append("parameters: they differ, in what is not known: they were not kept for both")
    elif changes["params"]:
        lines += [f"{key}: {_short(then)} -> {_short(now)}" for key, (then, now) in changes["params"].items()]
    else:
        lines.append("parameters: the same")
    then, now = changes["rows"]
    rows = f", {then:,} rows then, {now:,} now" if changes["data"] and then is not None and now is not None else ""
    lines.append(f"data: {'another snapshot' if changes['data'] else 'the same snapshot'}{rows}")
    lines.append(f"split: {'another' if changes['split'] else 'the same rows in training and test'}")
    lines.append(f"code: {'changed' if changes['code'] else 'the same'}")
    lines += [
        f"package {name}: {then or 'absent'} -> {now or 'absent'}" for name, (then, now) in changes["packages"].items()
    ]
    return lines


def _describe_training(training: Mapping[str, Any]) -> list[str]:
    lines = [f"winner by cross-validation: {training['winner']}, on {training['device']}"]
    board = sorted(training["leaderboard"].items(), key=lambda item: (item[1]["mean"] is None, item[1]["mean"]))
    for name, row in board:
        mean = "failed" if row["mean"] is None else f"{row['mean']:,.6g}"
        spread = "" if row.get("std") is None else f" ± {row['std']:,.3g}"
        lines.append(f"  {name:24}{mean}{spread}")
    figures = [f"{k} {v:,.6g}" for k, v in training["test"].items() if isinstance(v, int | float)]
    if figures:
        lines.append(f"on the test rows: {', '.join(figures)}")
    parity = training["parity"]
    worst = "not finite" if parity.get("max_rel") is None else f"{parity['max_rel']:.1e}"
    lines.append(
        f"parity with its framework: {'passed' if parity.get('passed') else 'FAILED'}, worst relative difference "
        f"{worst} over {parity.get('rows', 0):,} rows"
    )
    return lines


def _describe_gate(gate: Mapping[str, Any]) -> list[str]:
    act = {"promoted": "passed, and was promoted", "canary": "passed, as a canary", "refused": "REFUSED"}[
        gate["action"]
    ]
    lines = [f"{gate['time']} (entry {gate['seq']}): {act}"]
    lines += [f"  because {reason}" for reason in gate["reasons"]]
    if retraining := gate.get("retraining"):
        lines.append(f"  it was retrained ({retraining['trigger']}):")
        lines += [f"    {reason}" for reason in retraining["reasons"]]
        lines.append(
            f"    labelled rows: {retraining['labelled']['rows']:,}; history: {retraining['history']['reason']}"
        )
    holdout, metric = gate.get("holdout", {}), gate["metric"]
    lines.append(f"  on {holdout.get('rows', 0):,} test rows its {metric} was {gate['challenger']:,.6g}")
    lines += [f"  {line}" for line in _compare_rivals(gate, gate.get("champion_version"))]
    if fresh := gate.get("fresh"):
        lines.append(
            f"  on {fresh['rows']:,} fresh labelled rows, of which nobody has learnt: {fresh.get('challenger', 0):,.6g}"
        )
        lines += [f"  {line}" for line in _compare_rivals(fresh, gate.get("champion_version"))]
        lines += [f"    but {fresh['champion_draw']}"] if "champion_draw" in fresh else []
    if worst := gate.get("worst_slice"):
        lines.append(
            f"  worst slice: {worst['slice']} = {worst['label']} ({worst['n']:,} rows), {worst['change']:+.1%} against "
            "the champion"
        )
    latency = (gate.get("latency_us") or {}).get("row")
    return [*lines, *([f"  one row took {latency:,.0f} µs"] if latency is not None else [])]


def _compare_rivals(evidence: Mapping[str, Any], champion: str | None) -> list[str]:
    lines = []
    for rival, name in (("champion", f"the champion {champion}"), ("naive", "the naive baseline")):
        if rival not in evidence:
            continue
        gain = evidence[f"gain_over_{rival}"]
        better = (
            "better" if gain["low"] > 0 else "worse" if gain["high"] < 0 else "neither better nor worse beyond noise"
        )
        lines.append(
            f"{name}: {evidence[rival]:,.6g}; it is {better} (gain {gain['mean']:,.6g}, between {gain['low']:,.6g} and "
            f"{gain['high']:,.6g})"
        )
    return lines


def _describe_period(period: Mapping[str, Any]) -> list[str]:
    until = f"until {period['until']} (entry {period['end']})" if period["until"] else "until now"
    lines = [f"{period['role']} from {period['since']} (entry {period['seq']}) {until}"]
    if period["shares"]:
        shares = ", ".join(f"{share:.0%} from {time}" for time, share in period["shares"])
        lines.append(f"  share of the requests: {shares}")
    if figures := period.get("figures"):
        lines.append(
            f"  live: {figures['n']:,} predictions, {figures['labelled']:,} labelled{_describe_errors(figures)}"
        )
    elif period["live"].get("versions"):
        lines += [
            f"  live, by the ledger: {v['version']} ({v['role']}) {v['predictions']:,} predictions, "
            f"{v['labelled']:,} labelled{_describe_errors(v)}"
            for v in period["live"]["versions"]
        ]
    if period.get("verdicts"):
        counts = ", ".join(f"{n} {status}" for status, n in sorted(period["verdicts"].items()))
        lines.append(f"  windows as the monitor judged them: {counts}")
    return [*lines, *([f"  ended: {period['why']}"] if period["why"] else [])]


def _describe_errors(figures: Mapping[str, Any]) -> str:
    parts = []
    for name in ("rmse", "mae", "accuracy"):
        if estimate := figures.get(name):
            bounds = "" if estimate["low"] is None else f" (95 %: {estimate['low']:,.6g} to {estimate['high']:,.6g})"
            parts.append(f"; {name} {estimate['value']:,.6g}{bounds}")
    return "".join(parts)


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
