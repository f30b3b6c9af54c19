"""The training flow on Dask: the same stages, the same results."""

from __future__ import annotations

import json
from pathlib import Path

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


def test_stages_on_a_dask_cluster_give_what_a_local_run_gives(built: Project) -> None:
    before = read_results(built.path)
    params = built.path / "params.yaml"
    files = [params, *(built.path / f"src/tideline/models/{model}.py" for model in MODELS)]
    texts = [file.read_text() for file in files]
    settings = yaml.safe_load(texts[0])
    settings["flows"]["compute"] = "dask"
    try:
        params.write_text(yaml.safe_dump(settings))
        for file, text in zip(files[1:], texts[1:], strict=True):
            file.write_text(text + "\n# on Dask\n")
        run = Program(built, "pipelines.training", "housing")
        assert run.wait() == 0, run.said
    finally:
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)
    assert {f"train@housing-{model}" for model in MODELS} <= set(run.stages)
    assert "dask" in run.said.lower()
    assert read_results(built.path) == before
    wait_for(lambda: not marked_processes(built), 60)
