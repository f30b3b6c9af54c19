"""Which scheduled runs have nothing to do, because another one began after they were due."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines import missed
from pipelines.single_flight import PLACE


@pytest.mark.parametrize(("begun", "left_out"), [(-1, True), (-30, False), (60 * 24, False)])
def test_what_a_later_run_did_is_left_out_unless_a_wrong_clock_began_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: int, left_out: bool
) -> None:
    """Due ten minutes ago; begun so many minutes from now."""
    now = datetime.now(UTC)
    run = SimpleNamespace(auto_scheduled=True, expected_start_time=now - timedelta(minutes=10))
    monkeypatch.setattr(missed, "FlowRunContext", SimpleNamespace(get=lambda: SimpleNamespace(flow_run=run)))
    note = tmp_path / PLACE / "begun-retraining-homes.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"begun": (now + timedelta(minutes=begun)).isoformat()}))
    assert bool(missed.is_made_up_for("retraining", "homes", tmp_path)) is left_out
    if not left_out:
        assert abs(datetime.fromisoformat(json.loads(note.read_text())["begun"]) - now) < timedelta(minutes=1)
