"""How a retraining ended is told once, also if the store was away when it was to be told."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.small_task import small_params
from tideline.layout import Layout
from tideline.predlog import StoreUnavailable, open_store
from tideline.predlog import database as database_module
from tideline.retraining.announce import tell_end
from tideline.retraining.journal import Line, append_line, find_unfinished, list_finished, read_lines

PARAMS = small_params()


def note(layout: Layout, time: int, event: str, outcome: str = "", *reasons: str) -> None:
    facts = {"champion": "v0001-a"}
    append_line(layout.decisions, Line(time, event, "key", "by hand", reasons, outcome, facts))  # type: ignore[arg-type]


def test_what_could_not_be_told_is_told_by_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.2)
    layout = Layout("homes", tmp_path)
    with open_store(f"sqlite:///{tmp_path}/log.db") as store:
        assert tell_end(PARAMS, store, layout) is None  # nothing has ended
        note(layout, 1, "begin", "", "by hand: a test")
        note(layout, 2, "end", "refused", "it is not better")
        with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            with pytest.raises(
                StoreUnavailable, match=r"ended \(refused\), but nobody could be told: .*locked.*next run"
            ):
                tell_end(PARAMS, store, layout)
        assert [line.event for line in read_lines(layout.decisions)] == ["begin", "end"]
        sent = tell_end(PARAMS, store, layout)
        assert sent is not None
        (alert,) = sent.raised
        assert alert.status == "alarm" and alert.version == "v0001-a" and "the gate refused" in alert.title
        assert alert.lines == ("it is not better",)
        assert tell_end(PARAMS, store, layout) is None
        note(layout, 3, "begin", "", "by hand: once more")
        note(layout, 4, "end", "promoted")
        sent = tell_end(PARAMS, store, layout)
        assert sent is not None and [alert.status for alert in sent.raised] == ["recovered"]
        assert sent.raised[0].lines == ("by hand: once more",)
    lines = read_lines(layout.decisions)
    assert [line.event for line in lines] == ["begin", "end", "told"] * 2
    assert list_finished(lines) == (2, 4) and find_unfinished(lines) is None


def test_a_failed_graph_is_told_to_nobody(tmp_path: Path) -> None:
    layout = Layout("homes", tmp_path)
    note(layout, 1, "begin")
    note(layout, 2, "end", "failed", "no room")
    with open_store(f"sqlite:///{tmp_path}/log.db") as store:
        assert tell_end(PARAMS, store, layout) is None
