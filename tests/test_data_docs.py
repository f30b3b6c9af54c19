"""The pages of validation: what they say, and that a browser fetches nothing for them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.pages import Attributes, Tags, browse, strip_text
from tests.raw_table import make_rows, make_task, put, set_values
from tideline.contracts import Task, TidelineError
from tideline.data_docs.columns import describe_values
from tideline.data_docs.offline import strip_page
from tideline.layout import Layout
from tideline.params import load_params
from tideline.validate import validate

PARAMS = load_params(Path(__file__).parents[1] / "params.yaml")
FETCHED = {"src", "srcset", "data", "action", "poster", "background"}


def check(frame: pd.DataFrame, task: Task, root: Path, simulated: bool = False) -> Path:
    """The folder of pages after a validation, whatever it came to."""
    layout = Layout("small", root)
    put(frame, layout)
    manifest = {"source": "folder", "simulated": simulated, "content": "c" * 64, "sha256": "5" * 64, "origin": "s.csv"}
    (layout.raw / "manifest.json").write_text(json.dumps(manifest))
    try:
        validate(task, PARAMS, layout)
    except TidelineError as error:
        assert str(layout.data_docs / "index.html") in str(error)
    return layout.data_docs


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return check(make_rows(), make_task(), tmp_path_factory.mktemp("passed"))


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated rows with a warning and three errors; one of their values is html."""
    frame = set_values("size", 3, 12.5)(set_values("kind", 4, "<b>zebra</b>")(make_rows()))
    frame = set_values("day", 2, 20_000.0)(frame).assign(casual=1.0)
    return check(frame, make_task({"range": "warning"}), tmp_path_factory.mktemp("failed"), simulated=True)


def test_no_page_below_data_docs_fetches_anything(passed: Path, failed: Path) -> None:
    for docs in (passed, failed):
        pages = [path for path in docs.rglob("*") if path.is_file()]
        assert len(pages) == 3 and {path.suffix for path in pages} == {".html"}
        for path in pages:
            text, tags = path.read_text(), Attributes()
            tags.feed(text)
            assert not [pair for pair in tags.attributes if pair[0] in FETCHED]
            assert not [pair for pair in tags.attributes if "//" in pair[1] or "url(" in pair[1]]
            assert not re.search(r"<(link|img|iframe|object|embed)\b|@import|url\(|fetch\(|import\(|amazonaws", text)
            linked = [value for name, value in tags.attributes if name == "href" and not value.startswith("#")]
            assert linked and all((path.parent / value).is_file() for value in linked)


def test_the_page_shows_every_rule_that_holds(passed: Path) -> None:
    words = strip_text((passed / "index.html").read_text())
    assert "Passed: every rule holds" in words and "Simulated" not in words
    assert "100 rows were held against 21 rules" in words
    assert "at least" not in words and "rows 50 to 150 rows 100 rows error holds" in words
    assert "range 0 to 10 m no row against it error holds" in words
    assert "missing at most 10.00% missing no row against it error holds" in words
    assert words.count(" holds ") == 21 + 1  # and the verdict
    assert "source folder origin s.csv sha256 " + "5" * 64 in words


def test_the_page_names_what_is_broken_first(failed: Path) -> None:
    page, tags = (failed / "index.html").read_text(), Tags()
    tags.feed(page)
    assert tags.open == [] and len(tags.ids) == len(set(tags.ids))
    words = strip_text(page)
    assert "Simulated data:" in words
    assert "Failed: 3 rules are broken." in words
    first = words[words.index("What is broken") : words.index("Every rule")]
    assert "the whole table columns the columns id, day, size, kind, y lacking [], unknown [&#39;casual&#39;]" in first
    assert "size range 0 to 10 m 3 of 100 rows (3.00%) 12.5 warning warning" in first
    assert "day range 2011-01-26 to 2013-10-22 2 of 100 rows (2.00%) 2024-10-04 error broken" in first
    assert "kind categories" in first and "4 of 100 rows (4.00%) &#39;&lt;b&gt;zebra&lt;/b&gt;&#39; error" in first
    assert "<b>zebra" not in page


def test_warnings_alone_pass(tmp_path: Path) -> None:
    docs = check(set_values("size", 3, 12.5)(make_rows()), make_task({"range": "warning"}), tmp_path)
    words = strip_text((docs / "index.html").read_text())
    assert "Passed with 1 warning " in words and "Failed" not in words


def test_columns_without_trouble_are_folded_in_a_wide_table(tmp_path: Path) -> None:
    task = make_task()
    wide = tuple(replace(task.columns[2], name=f"size_{i}") for i in range(30))
    frame = make_rows().assign(**{column.name: 5.0 for column in wide})
    frame["size_7"] = 11.0
    page = (check(frame, replace(task, columns=(*task.columns, *wide)), tmp_path) / "index.html").read_text()
    assert page.count("<details open>") == 1 and page.count("<details>") == 35
    assert page[page.index("<details open>") :].index("size_7") < 60


def test_a_column_is_described_whatever_it_holds() -> None:
    task = make_task()
    day, size, kind = task.columns[1:]
    assert describe_values(day, pd.Series([15_000.0, 15_999.0, np.nan])) == "2011-01-26 to 2013-10-21; 1 missing"
    assert describe_values(size, pd.Series(["tall", "7"])) == "7 to 7 m"
    assert describe_values(size, pd.Series([np.nan, np.inf])) == "no numbers; 1 missing"
    assert describe_values(kind, pd.Series([*"aabcdef", None])) == "a (2), b (1), c (1), d (1) and 2 others; 1 missing"


def test_stripping_leaves_words_and_own_links() -> None:
    page = (
        "<html><head><link href='//cdn/x.css'><style>p { background: url(x) }</style></head><body>"
        '<script src="https://cdn/x.js">if (1 < 2) {}</script><img src="https://count/me.png?d=1"/>'
        '<p onclick="go()" style="background: URL(x)" class="a&quot;b">5 &lt; 6 &#65; &amp; <svg><image/></svg>more</p>'
        '<a href="https://elsewhere">out</a><a href="#here">here</a><a href="../index.html">home</a></body></html>'
    )
    found = strip_page(page, "p { color: red }")
    assert found[found.index("<body>") :] == (
        '<body><p class="a&quot;b">5 &lt; 6 &#65; &amp; more</p>'
        '<a>out</a><a href="#here">here</a><a href="../../index.html">home</a></body></html>'
    )
    assert "default-src 'none'" in found and "<style>p { color: red }</style>" in found
    assert "cdn" not in found and "count" not in found


@pytest.mark.browser
@pytest.mark.parametrize("width", [1200, 640])
def test_a_browser_draws_it_within_the_window(failed: Path, chromium: str, tmp_path: Path, width: int) -> None:
    probe = """<script>addEventListener("load", () => {
      const root = document.documentElement, loaded = performance.getEntriesByType("resource").length;
      const banner = getComputedStyle(document.querySelector(".verdict")).backgroundColor;
      document.title = `wide=${root.scrollWidth - root.clientWidth} loaded=${loaded} banner=${banner}`;
    })</script></body>"""
    page = tmp_path / "page.html"
    page.write_text((failed / "index.html").read_text().replace("</body>", probe))
    dom = browse(chromium, tmp_path, page, "--dump-dom", f"--window-size={width},900")
    assert "<title>wide=0 loaded=0 banner=rgb(168, 55, 31)</title>" in dom
