"""A copy of a task's registry with two versions that answer differently, for benchmarks that switch between them."""

from __future__ import annotations

from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tideline import catalog
from tideline.bundle import MODEL, Bundle, load_bundle, write_bundle
from tideline.champion import champion_bundle, store_version
from tideline.gate import read_holdout
from tideline.layout import Layout
from tideline.live_parity import write_parity
from tideline.params import load_params
from tideline.registry import rollback

SHIFT = 1000.0


def copy_registry(task: str, home: Path, target: Path) -> tuple[Layout, list[str]]:
    """The champion as the first version and one that answers SHIFT more as the second, both with their parity samples.

    Nothing is written to `home`. Raises TidelineError if it has no champion, or no holdout.
    """
    source, layout = Layout(task, home), Layout(task, target)
    champion = load_bundle(champion_bundle(source))
    params, holdout = load_params(home / "params.yaml"), read_holdout(catalog.get_task(task), source)
    (layout.registry / "versions").mkdir(parents=True)
    versions = []
    for bundle in (champion, shift_answers(champion, target / "shifted")):
        version = store_version(layout, bundle)
        write_parity(layout, version, bundle, holdout.frame, params.export, params.seed)
        versions.append(version)
    with redirect_stdout(None):
        rollback(layout, to=versions[0], reason="the first of the benchmark")
    return layout, versions


def shift_answers(bundle: Bundle, path: Path) -> Bundle:
    """The same regression bundle with SHIFT added to each answer, in its graph."""
    model = onnx.load_from_string(bundle.read(MODEL))
    (output,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = ["before_shift" if name == output.name else name for name in node.output]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(SHIFT), "shift"))
    model.graph.node.append(helper.make_node("Add", ["before_shift", "shift"], [output.name]))
    manifest = replace(bundle.manifest, model=f"{bundle.manifest.model}_shifted", clip=None)
    return write_bundle(path, model.SerializeToString(), manifest, bundle.read_reference())
