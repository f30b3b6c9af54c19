"""A project with three finished bundles, and what a test does with them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from tests.small_task import RENT, ship, small_params, write_project
from tideline.bundle import load_bundle, write_bundle
from tideline.layout import Layout
from tideline.registry import history, promote
from tideline.verdict import Verdict

PARAMS = small_params()


def build_template(root: Path) -> Path:
    """A project with three bundles: poor, good and better."""
    layout = write_project(root, RENT)
    for name, slope in (("poor", 2.0), ("good", 2.7), ("better", 3.0)):
        ship(layout, RENT, slope)
        shutil.copytree(layout.bundle, root / name)
    return root


def offer(layout: Layout, name: str) -> None:
    """Put one of the template's bundles where the graph puts the built one."""
    shutil.rmtree(layout.bundle)
    shutil.copytree(layout.root / name, layout.bundle)


def submit(layout: Layout, name: str) -> Verdict:
    offer(layout, name)
    return promote(RENT, PARAMS, layout)


def rewrite(layout: Layout, **changes: object) -> None:
    """Change the offered bundle's manifest, properly sealed."""
    bundle = load_bundle(layout.bundle)
    manifest = replace(bundle.manifest, **changes)  # type: ignore[arg-type]
    write_bundle(layout.bundle, bundle.read("model.onnx"), manifest, bundle.read_reference())


def actions(layout: Layout) -> list[str]:
    return [entry.action for entry in history(layout).entries]
