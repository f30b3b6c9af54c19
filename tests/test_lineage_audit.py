"""An audit on a graph of three quick stages, run by DVC: proved, a difference found, data that is nowhere."""

from __future__ import annotations

import shutil
import sys

import pytest
import yaml

from tests.small_registry import offer, submit
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.lineage.audit import DIFFERS, SAME, TIMES, audit
from tideline.lineage.audit_text import describe_audit
from tideline.lineage.cache import call_dvc, find_cache, locate
from tideline.lineage.graph_lock import find_out
from tideline.lineage.kept import read_lineage
from tideline.registry import history

MAKER = """
import json, pathlib, time, yaml
seed = yaml.safe_load(open("params.yaml"))["seed"]
rows = pathlib.Path("data/rent/raw/rows.txt").read_text().split()
out = pathlib.Path("work/rent/train/linear")
out.mkdir(parents=True, exist_ok=True)
record = {"score": seed + sum(map(int, rows)), "seconds": time.time()}
(out / "train.json").write_text(json.dumps(record))
"""


def build_graph(layout: Layout) -> None:
    """Raw data, a stage that records its time, and one that ships the bundle; all run once."""
    root, matrix = layout.root, {"task": ["rent"]}
    offer(layout, "good")
    shutil.copytree(layout.bundle, layout.raw / "bundle")
    (layout.raw / "rows.txt").write_text("1 2 3\n")
    (root / "src" / "tideline").mkdir(parents=True)
    (root / "src" / "tideline" / "maker.py").write_text(MAKER)
    raw, code = "data/${item.task}/raw", "src/tideline/maker.py"
    stages = {
        "fetch": {"matrix": matrix, "cmd": "true", "outs": [{raw: {"persist": True}}]},
        "train": {
            "matrix": matrix, "cmd": f"{sys.executable} {code}", "deps": [raw, code], "params": ["seed"],
            "outs": ["work/${item.task}/train/linear"],
        },
        "bundle": {
            "matrix": matrix, "cmd": "mkdir -p models/rent && cp -r data/rent/raw/bundle models/rent/bundle",
            "deps": [raw], "outs": ["models/${item.task}/bundle"],
        },
    }  # fmt: skip
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    call_dvc(root, ["init", "--no-scm", "-q"])
    call_dvc(root, ["repro", "-q"])
    submit_built(layout)


def submit_built(layout: Layout) -> None:
    shutil.copytree(layout.bundle, layout.root / "built")
    assert submit(layout, "built").accepted


@pytest.mark.slow
def test_the_same_is_proved_and_a_difference_is_found_where_it_begins(layout: Layout) -> None:
    build_graph(layout)
    found = audit(layout, "v0001")
    assert found.first is None
    assert {f.path: f.outcome for f in found.findings} == {"work/rent/train/linear": TIMES, "models/rent/bundle": SAME}
    assert "proved" in describe_audit(found)
    # The parameters of today do not matter, the code does.
    text = (layout.root / "params.yaml").read_text()
    (layout.root / "params.yaml").write_text(text.replace("seed: 42", "seed: 1"))
    (layout.root / "src" / "tideline" / "maker.py").write_text(MAKER.replace("seed +", "seed + 1 +"))
    announced: list[str] = []
    found = audit(layout, "v0001", announced.append)
    assert any("src/tideline/maker.py" in text for text in announced)
    assert found.first is not None and (found.first.stage, found.first.outcome) == ("train@rent", DIFFERS)
    assert found.first.details == ("work/rent/train/linear/train.json: score was 48, is 49",)
    assert "NOT the same; stage train@rent is the first" in describe_audit(found)


@pytest.mark.slow
def test_raw_data_that_is_nowhere_is_named(layout: Layout) -> None:
    build_graph(layout)
    (version,) = [e.version for e in history(layout).entries]
    kept = read_lineage(layout, version, history(layout).entries)
    assert kept is not None and kept.stages is not None
    raw = find_out(kept.stages, "data/rent/raw")
    assert raw is not None
    locate(find_cache(layout.root), raw.md5).unlink()
    with pytest.raises(TidelineError, match=rf"its data lacks: data/rent/raw \({raw.md5}\)"):
        audit(layout, version)


def test_a_version_that_was_built_without_dvc_cannot_be_made_again(layout: Layout) -> None:
    submit(layout, "good")
    with pytest.raises(TidelineError, match="cannot be made again: the bundle was built without DVC"):
        audit(layout, "v0001")
