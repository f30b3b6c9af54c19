"""The stages of one task, read from dvc.yaml through DVC: what waits for what, and what is stale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tideline.contracts import TidelineError

LAST = "bundle"  # the stage that everything else of a task serves


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml by its address, e.g. `train@housing-linear`."""

    name: str
    after: tuple[str, ...]  # addresses of the stages whose outputs it reads
    deps: tuple[str, ...]  # paths, relative to the root
    outs: tuple[str, ...]


def read_graph(task: str, root: Path = Path()) -> tuple[Stage, ...]:
    """The stages that the bundle of `task` needs, each behind those that it waits for. Raises TidelineError."""
    import networkx
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            graph = repo.index.graph  # an edge leads from a stage to one that it waits for
            named = {stage.addressing: stage for stage in graph}
    except DvcException as error:
        raise TidelineError(f"dvc.yaml cannot be read: {error}") from error
    last = f"{LAST}@{task}"
    if last not in named:
        raise TidelineError(f"dvc.yaml has no stage {last!r}; is {task!r} listed under `tasks` in params.yaml?")
    needed = {named[last], *networkx.descendants(graph, named[last])}
    order = reversed(list(networkx.lexicographical_topological_sort(graph.subgraph(needed), lambda s: s.addressing)))
    return tuple(
        Stage(
            stage.addressing,
            tuple(sorted(other.addressing for other in graph.successors(stage))),
            tuple(str(dep) for dep in stage.deps),
            tuple(str(out) for out in stage.outs),
        )
        for stage in order
    )


def find_stale(names: tuple[str, ...], root: Path = Path()) -> set[str]:
    """Which of these stages DVC would run now; what another stage may yet change is not foreseen."""
    from dvc.repo import Repo

    with Repo(str(root), _wait_for_lock=True) as repo:
        return set(repo.status(targets=list(names)))
