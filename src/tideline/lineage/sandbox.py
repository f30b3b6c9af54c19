"""A folder in which a version's graph can be looked at or run again without touching the project."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.lineage.graph_lock import LOCK, Item, Stages, list_inputs, list_outs, write_lock
from tideline.lineage.kept import PARAMS, Lineage


def list_sources(layout: Layout, stages: Stages) -> list[Item]:
    """The data that no other stage of the task makes: the raw snapshot, labelled rows."""
    data = f"data/{layout.task}"
    raw = layout.raw.relative_to(layout.root).as_posix()
    own = [out for out in list_outs(stages) if out.path in (raw, f"{data}/labelled")]
    return [*own, *list_inputs(stages, data)]


@contextmanager
def open_sandbox(layout: Layout, lineage: Lineage, without: frozenset[str] = frozenset()) -> Iterator[Path]:
    """A temporary folder with the version's params.yaml, the project's dvc.yaml and code, and a DVC of its own.

    Stages that write one of the paths in `without` are left out of the graph: what they write is put there instead.
    """
    if lineage.params is None or lineage.stages is None:
        raise TidelineError(f"{lineage.path} holds no graph: {'; '.join(lineage.notes)}")
    with tempfile.TemporaryDirectory(prefix=f"tideline-{layout.task}-") as name:
        folder = Path(name)
        (folder / ".dvc" / "tmp").mkdir(parents=True)
        (folder / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
        (folder / PARAMS).write_bytes(lineage.params)
        graph = yaml.safe_load((layout.root / "dvc.yaml").read_text())
        graph["stages"] = {
            key: stage for key, stage in graph["stages"].items() if not without & set(_list_outs(stage, layout.task))
        }
        (folder / "dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False))
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(layout.root / "src", folder / "src", ignore=ignore)
        yield folder


def check_graph(layout: Layout, lineage: Lineage) -> None:
    """Raises TidelineError unless today's dvc.yaml, with the version's parameters, has the version's stages."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    assert lineage.stages is not None
    with open_sandbox(layout, lineage) as folder:
        (folder / LOCK).write_bytes(write_lock(lineage.stages))
        try:
            with Repo(str(folder)) as repo:
                there = {s.name: {o.def_path for o in s.outs} for s in repo.index.stages if getattr(s, "name", None)}
        except DvcException as error:
            raise TidelineError(
                f"today's dvc.yaml does not work with the parameters of {lineage.path.name}: {error}; check out the "
                "code that it was made with"
            ) from error
    for name, stage in lineage.stages.items():
        expected = {out["path"] for out in stage.get("outs", ())}
        if there.get(name) != expected:
            found = "is not in it" if name not in there else f"writes {', '.join(sorted(there[name]))} there"
            raise TidelineError(
                f"stage {name} of {lineage.path.name} {found}: dvc.yaml was changed since; check out the code that "
                "the version was made with"
            )


def _list_outs(stage: Any, task: str) -> list[str]:
    """Paths of a stage of dvc.yaml for one task."""
    outs = [next(iter(out)) if isinstance(out, dict) else out for out in stage.get("outs", ())]
    return [out.replace("${item.task}", task) for out in outs]
