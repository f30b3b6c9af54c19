"""The gate of promotion: is the challenger better, beyond noise, than the naive baseline and the champion?

Everything is scored here, on the same rows, through `predictor`; what only a run can know (parity, latency) is taken
from the challenger's manifest. The naive baseline is what the challenger's own reference sketch says of the training
rows: their mean, or the shares of their classes. Source of the test: B. Efron & R. Tibshirani, "An Introduction to the
Bootstrap" (1993), chapter 13, on pairs of losses, one-sided.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tideline.bundle import Bundle
from tideline.contracts import Manifest, Task, TidelineError
from tideline.layout import Layout
from tideline.params import Gate, Params
from tideline.predictor import Predictor, columns_from_frame

if TYPE_CHECKING:
    import pandas as pd

RESAMPLES = 2000
SLICE_ROWS = 30  # a slice with fewer rows is reported, not judged
LEAST_PROBABILITY = float(np.finfo(np.float32).eps)
AGREEMENT = 1e-3  # relative: the bundle's own score against the one measured here

Losses = NDArray[np.float64]


@dataclass(frozen=True)
class Judgement:
    """Why a challenger is refused (nothing = it passes), and the figures that say so."""

    reasons: tuple[str, ...]
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Holdout:
    """The test rows: hash of the split, frame, target (n,) as float64 values or int64 class numbers."""

    hash: str
    frame: pd.DataFrame
    actual: NDArray[Any]


@dataclass(frozen=True)
class Gain:
    """How much smaller the score is than the other's, in the score's unit: estimate and one-sided bounds."""

    mean: float
    low: float
    high: float


def judge(
    task: Task, params: Params, layout: Layout, challenger: Bundle, champion: Bundle | None, on_trial: bool = False
) -> Judgement:
    """Compare on the current holdout. `on_trial`: it need not be better than the champion, only not worse beyond noise.

    Where the split has a fresh holdout (fresh_gate.py), that one decides between challenger and champion; on the old
    one the difference is recorded, and the naive baseline must still be beaten. Raises TidelineError if the holdout or
    a bundle cannot be read.
    """
    from tideline.fresh_gate import check_old_margin, has_fresh, judge_fresh

    manifest = challenger.manifest
    holdout = read_holdout(task, layout)
    fresh = champion is not None and has_fresh(layout)
    score = "rmse" if task.problem == "regression" else "log_loss"
    evidence: dict[str, Any] = {
        "holdout": {"hash": holdout.hash, "rows": len(holdout.frame)},
        "test": {"method": "paired bootstrap", "resamples": RESAMPLES, "confidence": params.gate.confidence},
        "metric": score,
        "model": manifest.model,
        "provenance": dict(manifest.provenance),
        "parity": {k: v for k, v in manifest.parity.items() if k != "worst"},
        "latency_us": manifest.metrics.get("latency_us"),
    }
    reasons = _check_run(manifest, params.gate)
    if champion is not None:
        reasons += _check_provenance(manifest, champion.manifest)
    if manifest.hashes.get("split") != holdout.hash:
        reasons.append(
            f"it was trained on split {_short(manifest.hashes.get('split'))}, the holdout belongs to split "
            f"{_short(holdout.hash)}: it may have seen these rows; run `dvc repro` and promote what comes out"
        )
        return Judgement(tuple(reasons), evidence)

    losses = compute_losses(task, challenger, holdout)
    evidence["challenger"] = compute_score(losses, score)
    reasons += _check_claim(manifest, score, evidence["challenger"])
    rivals = {"naive": compute_naive_losses(task, challenger, holdout)}
    if champion is not None:
        same = champion.manifest.hashes.get("split") == holdout.hash
        note = "same split" if same else "another split: it may have seen some of these rows, which favours it"
        evidence["holdout"]["champion"] = note
        lacking = [c.name for c in champion.manifest.columns if c.name not in holdout.frame.columns]
        if lacking:
            reasons.append(f"the champion takes columns {lacking}, which the holdout lacks: the two cannot be compared")
        else:
            rivals["champion"] = compute_losses(task, champion, holdout)
    for name, other in rivals.items():
        gain = bootstrap_gain(other, losses, score, params.gate.confidence, params.seed)
        evidence[name] = compute_score(other, score)
        evidence[f"gain_over_{name}"] = {"mean": gain.mean, "low": gain.low, "high": gain.high}
        if fresh and name == "champion":
            reasons += check_old_margin(params, score, evidence["challenger"], evidence[name])
            continue
        scores = evidence["challenger"], evidence[name]
        if reason := check_gain(name, gain, score, *scores, params.gate.confidence, on_trial and name == "champion"):
            reasons.append(reason)
    if "champion" in rivals:
        worse, table = check_slices(task, params, holdout, rivals["champion"], losses, score)
        evidence["slices"] = table
        reasons += [] if fresh else worse
    if fresh and champion is not None:
        judgement = judge_fresh(task, params, layout, challenger, champion, on_trial)
        evidence["fresh"] = judgement.evidence
        reasons += judgement.reasons
    return Judgement(tuple(reasons), evidence)


def check_gain(
    name: str, gain: Gain, score: str, own: float, other: float, confidence: float, may_equal: bool = False
) -> str:
    """Why a gain over `name` is not enough; "" if it is. `may_equal`: not being worse beyond noise will do."""
    if not (gain.high < 0 if may_equal else not gain.low > 0):
        return ""
    verb, bound = ("worse", gain.high) if may_equal else ("not better", gain.low)
    return (
        f"it is {verb} than the {name} beyond noise: {score} {own:,.6g} against {other:,.6g}, gain {gain.mean:,.4g}, "
        f"{confidence:.0%} bound {bound:,.4g}"
    )


def read_holdout(task: Task, layout: Layout, name: str = "test.parquet") -> Holdout:
    """The current test rows, or those of another file of the split, and the hash of the split."""
    import pandas as pd

    try:
        digest = json.loads((layout.split / "split.json").read_text())["hash"]
        frame = pd.read_parquet(layout.split / name)
    except (FileNotFoundError, KeyError) as error:
        raise TidelineError(f"no holdout in {layout.split} ({error}); run `dvc repro` or `dvc pull`") from error
    target = frame[task.target.name]
    if task.problem == "regression":
        return Holdout(digest, frame, target.to_numpy(np.float64))
    codes = pd.Index(task.classes).get_indexer(pd.Index(target.astype(str)))
    if (codes < 0).any():
        strange = sorted(set(target[codes < 0].astype(str)))
        raise TidelineError(f"{layout.split}/{name}: {task.target.name} holds {strange}, none of the task's classes")
    return Holdout(digest, frame, codes)


def compute_losses(task: Task, bundle: Bundle, holdout: Holdout) -> Losses:
    """Loss of each holdout row (n,): squared error, or log loss."""
    if bundle.manifest.problem != task.problem or bundle.manifest.classes != task.classes:
        raise TidelineError(
            f"bundle {bundle.path} answers another question ({bundle.manifest.problem}) than {task.name}"
        )
    prediction = Predictor(bundle).predict(columns_from_frame(bundle.manifest, holdout.frame))
    if task.problem == "regression":
        return _square(prediction.values - holdout.actual)
    return _log_losses(prediction.probabilities[np.arange(len(prediction)), holdout.actual])


def compute_naive_losses(task: Task, bundle: Bundle, holdout: Holdout) -> Losses:
    """Loss of each row (n,) of the constant answer that the training rows suggest."""
    target = bundle.read_reference()["target"]
    if task.problem == "regression":
        return _square(holdout.actual - target["mean"])
    shares = np.array([target["shares"][name] for name in task.classes], dtype=np.float64)
    return _log_losses(shares[holdout.actual])


def bootstrap_gain(
    other: Losses,
    own: Losses,
    score: str,
    confidence: float,
    seed: int,
    draws: int = RESAMPLES,
    groups: NDArray[np.int64] | None = None,
) -> Gain:
    """Gain of `own` over `other`, losses (n,) of the same rows; bounds are quantiles over resamples of the pairs.

    groups: whole groups (n,) of rows are drawn together.
    """
    random = np.random.default_rng(seed)
    gains = np.empty(draws)
    members = [] if groups is None else [np.flatnonzero(groups == group) for group in np.unique(groups)]
    for i in range(draws):
        if groups is None:
            rows = random.integers(0, len(own), len(own))
        else:
            rows = np.concatenate([members[g] for g in random.integers(0, len(members), len(members))])
        gains[i] = compute_score(other[rows], score) - compute_score(own[rows], score)
    low, high = np.quantile(gains, [1 - confidence, confidence])
    return Gain(compute_score(other, score) - compute_score(own, score), float(low), float(high))


def _check_run(manifest: Manifest, gate: Gate) -> list[str]:
    reasons = []
    if manifest.parity.get("passed") is not True:
        reasons.append(
            f"it did not pass parity with its framework (worst relative difference {manifest.parity.get('max_rel')})"
        )
    latency = manifest.metrics.get("latency_us", {}).get("row")
    if latency is None:
        reasons.append("its latency was not measured; run the evaluate stage")
    elif latency > gate.latency_us:
        reasons.append(f"one row takes {latency:,.0f} µs, the gate allows {gate.latency_us:,.0f}")
    return reasons


def _check_provenance(challenger: Manifest, champion: Manifest) -> list[str]:
    if challenger.provenance.get("simulated", True) and not champion.provenance.get("simulated", True):
        return ["it was trained on simulated data, the champion on real data; bring the real data and train again"]
    return []


def _check_claim(manifest: Manifest, score: str, found: float) -> list[str]:
    claimed = manifest.metrics.get("test", {}).get(score)
    if claimed is None:
        return [f"its manifest holds no test {score}; run the evaluate and bundle stages"]
    if abs(claimed - found) > AGREEMENT * max(abs(found), 1e-6):
        return [f"its manifest claims {score} {claimed:,.6g} on the holdout, measured here: {found:,.6g}"]
    return []


def check_slices(
    task: Task, params: Params, holdout: Holdout, other: Losses, own: Losses, score: str
) -> tuple[list[str], list[dict[str, Any]]]:
    from tideline.slices import label_rows

    reasons, table = [], []
    for part in task.slices:
        for label, rows in label_rows(task, part, holdout.frame).items():
            before, after = compute_score(other[rows], score), compute_score(own[rows], score)
            change = after / before - 1 if before > 0 else float(after > 0)
            judged = len(rows) >= SLICE_ROWS
            line = {"slice": part.name, "label": label, "n": len(rows), "champion": before, "challenger": after}
            table.append({**line, "change": change, "judged": judged})
            if judged and change > params.gate.slice_margin:
                gain = bootstrap_gain(other[rows], own[rows], score, params.gate.confidence, params.seed)
                if gain.high < 0:
                    reasons.append(
                        f"slice {part.name} = {label} ({len(rows)} rows) is worse by {change:.1%}, the margin is "
                        f"{params.gate.slice_margin:.0%}: {score} {after:,.6g} against {before:,.6g}"
                    )
    return reasons, table


def compute_score(losses: Losses, score: str) -> float:
    """RMSE or mean log loss of losses (n,)."""
    mean = float(losses.mean())
    return float(np.sqrt(mean)) if score == "rmse" else mean


def _square(errors: NDArray[np.float64]) -> Losses:
    return errors * errors


def _log_losses(probabilities: NDArray[np.float64]) -> Losses:
    return -np.log(np.clip(probabilities, LEAST_PROBABILITY, 1.0))


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "(unknown)"
