"""The training flow on Dask: the same stages, the same results, and stages that use the cluster themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.e2e.conftest import Project
from tests.pipelines.real_flows import MODELS, Program, marked_processes
from tests.wait import wait_for

pytestmark = pytest.mark.slow


def read_results(root: Path) -> dict[str, object]:
    """Predictions outside the folds by model, and the test's figures: what no clock has a part in."""
    folder = root / "work/housing/train"
    metrics = json.loads((root / "reports/housing/metrics.json").read_text())
    return {**{m: np.load(folder / m / "oof.npy").tolist() for m in MODELS}, "test": metrics["test"]}


@contextmanager
def on_dask(project: Project, models: list[str], **changes: Any) -> Iterator[None]:
    """The project with `compute: dask` and these models' files changed; put back afterwards."""
    params = project.path / "params.yaml"
    files = [params, *(project.path / f"src/tideline/models/{model}.py" for model in models)]
    texts = [file.read_text() for file in files]
    try:
        params.write_text(yaml.safe_dump({**yaml.safe_load(texts[0]), "compute": "dask", **changes}))
        for file, text in zip(files[1:], texts[1:], strict=True):
            file.write_text(text + "\n# on Dask\n")
        yield
    finally:
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)


def test_stages_on_a_dask_cluster_give_what_a_local_run_gives(built: Project) -> None:
    before = read_results(built.path)
    with on_dask(built, MODELS):
        run = Program(built, "pipelines.training", "housing")
        assert run.wait() == 0, run.said
    assert {f"train@housing-{model}" for model in MODELS} <= set(run.stages)
    assert "dask" in run.said.lower()
    assert read_results(built.path) == before
    wait_for(lambda: not marked_processes(built), 60)


def test_a_stage_searches_on_the_cluster_whose_only_place_it_had(built: Project) -> None:
    flows = {**yaml.safe_load((built.path / "params.yaml").read_text())["flows"], "workers": 1}
    tuning = {"decision_tree": {"trials": 3, "seconds": 300.0}}
    with on_dask(built, ["decision_tree"], flows=flows, tuning=tuning):
        run = Program(built, "pipelines.training", "housing")
        assert run.wait() == 0, run.said
        best = json.loads((built.path / "work/housing/tune/decision_tree/best.json").read_text())
    assert best["trials"] == 3 and best["source"] == "search"
    wait_for(lambda: not marked_processes(built), 60)
