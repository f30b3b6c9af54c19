"""The gate on the fresh holdout: labelled rows that nobody has learnt from decide between challenger and champion.

Under drift the old holdout is the past, and a champion may be best there because it knows the past only. Rows of one
day share their weather and their fashion; where time counts, the bootstrap draws whole days (a cluster bootstrap:
A. Davison & D. Hinkley, "Bootstrap Methods and their Application" (1997), 3.8).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tideline.bundle import Bundle
from tideline.contracts import Task
from tideline.gate import (
    Judgement,
    bootstrap_gain,
    check_gain,
    check_slices,
    compute_losses,
    compute_naive_losses,
    compute_score,
    read_holdout,
)
from tideline.layout import Layout
from tideline.params import Params

FRESH = "fresh.parquet"


def has_fresh(layout: Layout) -> bool:
    """True if the split has a fresh holdout."""
    return (layout.split / FRESH).is_file()


def judge_fresh(
    task: Task, params: Params, layout: Layout, challenger: Bundle, champion: Bundle, on_trial: bool = False
) -> Judgement:
    """Better than naive and than the champion beyond noise, and no slice worse. `on_trial`: not worse will do.

    Raises TidelineError if the holdout or a bundle cannot be read.
    """
    holdout = read_holdout(task, layout, FRESH)
    score, confidence = "rmse" if task.problem == "regression" else "log_loss", params.retraining.confidence
    evidence: dict[str, Any] = {"rows": len(holdout.frame)}
    if len(holdout.frame) < params.retraining.fresh_rows:
        reason = (
            f"the fresh holdout has {len(holdout.frame):,} rows; {params.retraining.fresh_rows:,} would do to judge "
            "(params.yaml: retraining.fresh_rows)"
        )
        return Judgement((reason,), evidence)
    groups = read_groups(task, holdout.frame)
    if groups is not None:
        evidence["days"] = len(np.unique(groups))
    losses = compute_losses(task, challenger, holdout)
    evidence["challenger"] = compute_score(losses, score)
    reasons: list[str] = []
    rivals = {"naive": compute_naive_losses(task, challenger, holdout)}
    lacking = [c.name for c in champion.manifest.columns if c.name not in holdout.frame.columns]
    if lacking:
        reasons.append(f"the champion takes columns {lacking}, which the fresh holdout lacks: they cannot be compared")
    else:
        rivals["champion"] = compute_losses(task, champion, holdout)
    if _is_drawn_anew(challenger, champion):
        evidence["champion_draw"] = (
            "the champion's fresh holdout was drawn with another seed or share (params.yaml: seed, retraining.fresh): "
            "it may have learnt some of these rows, which favours it"
        )
    for name, other in rivals.items():
        gain = bootstrap_gain(other, losses, score, confidence, params.seed, groups=groups)
        evidence[name] = compute_score(other, score)
        evidence[f"gain_over_{name}"] = {"mean": gain.mean, "low": gain.low, "high": gain.high}
        scores = evidence["challenger"], evidence[name]
        if reason := check_gain(name, gain, score, *scores, confidence, on_trial and name == "champion"):
            reasons.append(f"on the fresh holdout {reason}")
    if "champion" in rivals:
        worse, evidence["slices"] = check_slices(task, params, holdout, rivals["champion"], losses, score)
        reasons += [f"on the fresh holdout {reason}" for reason in worse]
    return Judgement(tuple(reasons), evidence)


def _is_drawn_anew(challenger: Bundle, champion: Bundle) -> bool:
    one, two = ((b.manifest.provenance.get("labelled") or {}).get("draw") for b in (challenger, champion))
    return one is not None and two is not None and one != two


def check_old_margin(params: Params, score: str, challenger: float, champion: float) -> list[str]:
    """Whether a challenger that is better on fresh rows lost too much on the old ones; null: nothing is too much."""
    margin = params.retraining.old_margin
    if margin is None or challenger <= champion * (1 + margin):
        return []
    return [
        f"on the old holdout its {score} is {challenger:,.6g}, the champion's {champion:,.6g}: more than the margin of "
        f"{margin:.0%} (params.yaml: retraining.old_margin)"
    ]


def read_groups(task: Task, frame: Any) -> NDArray[np.int64] | None:
    """The day (whatever time it splits by) of each row (n,); None where the rows have no order in time."""
    if task.split.kind != "time":
        return None
    return np.asarray(np.floor(frame[task.split.by[0]].to_numpy(np.float64)), dtype=np.int64)
