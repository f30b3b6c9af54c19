"""The walk over a graph: order, what is passed by, what a failure holds back."""

from __future__ import annotations

from pipelines.graph import Stage, read_graph
from pipelines.walk import Walk


def make_graph(**after: str) -> tuple[Stage, ...]:
    return tuple(Stage(name, tuple(others.split()), (), ()) for name, others in after.items())


DIAMOND = make_graph(fetch="", left="fetch", right="fetch", join="left right", far="")


def test_stage_starts_once_all_that_it_waits_for_is_done() -> None:
    walk = Walk(DIAMOND, set)
    assert walk.take_ready() == ["fetch", "far"]
    assert walk.take_ready() == []
    walk.end("fetch", ran=True)
    assert walk.take_ready() == ["left", "right"]
    walk.end("left", ran=True)
    assert walk.take_ready() == []
    walk.end("right", ran=True)
    assert walk.take_ready() == ["join"]


def test_stages_that_are_up_to_date_are_passed_by_in_one_go() -> None:
    walk = Walk(DIAMOND, lambda names: set(names) & {"join"})
    assert walk.take_ready() == ["join"]
    walk.end("join", ran=True)
    assert walk.take_ready() == []
    assert walk.outcomes == {"fetch": "up to date", "left": "up to date", "right": "up to date", "join": "ran",
                             "far": "up to date"}  # fmt: skip


def test_stage_is_looked_at_again_when_one_ahead_of_it_ran() -> None:
    stale = {"fetch"}
    walk = Walk(DIAMOND, lambda names: set(names) & stale)
    assert walk.take_ready() == ["fetch"]
    stale.add("left")
    walk.end("fetch", ran=True)
    assert walk.take_ready() == ["left"]
    assert walk.outcomes["right"] == "up to date"


def test_failure_holds_back_what_waits_for_it_and_nothing_else() -> None:
    walk = Walk(DIAMOND, set)
    walk.take_ready()
    walk.end("fetch", ran=True)
    walk.end("far", ran=True)
    walk.take_ready()
    walk.end("left", ran=False)
    walk.end("right", ran=True)
    assert walk.take_ready() == []
    assert walk.outcomes["join"] == "not reached"
    assert walk.outcomes["left"] == "failed"


def test_graph_is_that_of_dvc_yaml() -> None:
    stages = {stage.name: stage for stage in read_graph("digits")}
    assert stages["validate@digits"].after == ("fetch@digits",)
    assert set(stages["export@digits-linear"].after) == {"features@digits", "train@digits-linear"}
    assert "models/digits/bundle" in stages["bundle@digits"].outs
    assert not [name for name in stages if "housing" in name]
    seen: set[str] = set()
    for name, stage in stages.items():
        assert seen.issuperset(stage.after), name
        seen.add(name)
