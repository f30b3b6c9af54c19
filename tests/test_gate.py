"""The gate: better than naive and champion beyond noise, no slice worse, nothing taken on trust."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.small_registry import PARAMS, actions, offer, rewrite, submit
from tests.small_task import PETS, RENT, ship, write, write_project
from tideline.bundle import load_bundle
from tideline.contracts import TidelineError
from tideline.gate import bootstrap_gain
from tideline.layout import Layout
from tideline.registry import champion_bundle, history, promote


def test_first_version_must_beat_naive_only(layout: Layout) -> None:
    verdict = submit(layout, "poor")
    assert verdict.accepted and verdict.version == f"v0001-{load_bundle(layout.bundle).digest[:8]}"
    assert champion_bundle(layout).name == verdict.version
    (entry,) = history(layout).entries
    assert entry.evidence["gain_over_naive"]["low"] > 0
    assert entry.evidence["holdout"] == {"hash": "5" * 64, "rows": 800}
    assert entry.evidence["parity"]["passed"] is True and entry.evidence["latency_us"]["row"] == 20.0


def test_better_replaces_and_worse_or_equal_does_not(layout: Layout) -> None:
    submit(layout, "good")
    worse = submit(layout, "poor")
    assert not worse.accepted
    assert "not better than the champion beyond noise: rmse" in worse.reasons[0]
    assert champion_bundle(layout).name.startswith("v0001")
    better = submit(layout, "better")
    assert better.accepted and better.version.startswith("v0002")
    rewrite(layout, created="later")  # the same model under another digest is not better
    equal = promote(RENT, PARAMS, layout)
    assert not equal.accepted and "not better than the champion" in equal.reasons[0]
    assert actions(layout) == ["promoted", "refused", "promoted", "refused"]


def test_naive_itself_is_refused(layout: Layout) -> None:
    shutil.rmtree(layout.candidate)
    ship(layout, RENT, slope=0.0, bonus=0.0)
    verdict = promote(RENT, PARAMS, layout)
    assert not verdict.accepted and "not better than the naive beyond noise" in verdict.reasons[0]
    with pytest.raises(TidelineError, match="no champion"):
        champion_bundle(layout)


def test_simulated_never_replaces_real_but_real_replaces_simulated(layout: Layout) -> None:
    submit(layout, "good")
    offer(layout, "better")
    provenance = {"source": "simulator", "simulated": True, "rows": 1, "sha256": "0" * 64}
    rewrite(layout, provenance=provenance)
    verdict = promote(RENT, PARAMS, layout)
    assert verdict.reasons == (
        "it was trained on simulated data, the champion on real data; bring the real data and train again",
    )
    shutil.rmtree(layout.registry)
    offer(layout, "good")
    rewrite(layout, provenance=provenance)
    assert promote(RENT, PARAMS, layout).accepted
    assert submit(layout, "better").accepted


def test_every_gate_is_named_with_its_figures(layout: Layout) -> None:
    offer(layout, "good")
    manifest = load_bundle(layout.bundle).manifest
    rewrite(
        layout,
        parity={"passed": False, "max_rel": 0.25},
        metrics={**manifest.metrics, "latency_us": {"row": 5000.0}, "test": {"rmse": 1.0}},
    )
    text = " | ".join(promote(RENT, PARAMS, layout).reasons)
    assert "parity" in text and "0.25" in text
    assert "5,000 µs, the gate allows 1,000" in text
    assert "claims rmse 1 on the holdout, measured here:" in text
    rewrite(layout, metrics={})
    text = " | ".join(promote(RENT, PARAMS, layout).reasons)
    assert "latency was not measured" in text and "no test rmse" in text


def test_challenger_of_another_split_is_refused_unscored(layout: Layout) -> None:
    offer(layout, "good")
    rewrite(layout, hashes={**load_bundle(layout.bundle).manifest.hashes, "split": "6" * 64})
    verdict = promote(RENT, PARAMS, layout)
    assert "666666666666" in verdict.reasons[0] and "may have seen these rows" in verdict.reasons[0]
    assert "challenger" not in verdict.evidence


def test_champion_of_another_split_is_scored_here_and_it_is_said(layout: Layout) -> None:
    submit(layout, "good")
    fresh = "7" * 64
    write(layout.split / "split.json", {"hash": fresh})
    offer(layout, "better")
    rewrite(layout, hashes={**load_bundle(layout.bundle).manifest.hashes, "split": fresh})
    verdict = promote(RENT, PARAMS, layout)
    assert verdict.accepted and "another split" in verdict.evidence["holdout"]["champion"]


def test_slice_that_gets_worse_is_refused_though_the_whole_gets_better(layout: Layout) -> None:
    ship(layout, RENT, slope=2.4, bonus=60.0)
    assert promote(RENT, PARAMS, layout).accepted
    shutil.rmtree(layout.candidate)
    ship(layout, RENT, slope=3.0, bonus=10.0)  # right on kind a, and 30 too low on kind b
    verdict = promote(RENT, PARAMS, layout)
    lines = {(row["slice"], row["label"]): row for row in verdict.evidence["slices"]}
    assert verdict.evidence["gain_over_champion"]["low"] > 0
    assert lines["kind", "b"]["change"] > 0.1 > lines["kind", "a"]["change"]
    assert all(reason.startswith("slice ") for reason in verdict.reasons)
    assert any(reason.startswith("slice kind = b") for reason in verdict.reasons)
    lenient = replace(PARAMS, gate=replace(PARAMS.gate, slice_margin=9.0))
    assert promote(RENT, lenient, layout).accepted


def test_classification_is_judged_by_log_loss(tmp_path: Path) -> None:
    layout = write_project(tmp_path, PETS)
    ship(layout, PETS, slope=2.6)
    assert promote(PETS, PARAMS, layout).accepted
    shutil.rmtree(layout.candidate)
    ship(layout, PETS, slope=3.0, bonus=0.0)
    verdict = promote(PETS, PARAMS, layout)
    assert verdict.accepted and verdict.evidence["metric"] == "log_loss"
    assert verdict.evidence["challenger"] < verdict.evidence["champion"] < 2


def test_paired_bootstrap_knows_noise_from_gain() -> None:
    random = np.random.default_rng(5)
    base = random.exponential(1.0, 2000)
    same = bootstrap_gain(base, random.permutation(base), "log_loss", 0.95, 0, draws=500)
    assert same.mean == pytest.approx(0) and same.low < 0 < same.high
    gain = bootstrap_gain(base, base * 0.99, "log_loss", 0.95, 0, draws=500)
    assert 0 < gain.low < gain.mean < gain.high  # paired: a small gain on every row is beyond noise
    assert gain == bootstrap_gain(base, base * 0.99, "log_loss", 0.95, 0, draws=500)
