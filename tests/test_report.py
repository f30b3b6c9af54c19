"""The page: self-contained, well formed, with every picture, and readable in a real browser."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation_tasks import HARBOUR, STAMPS, make_harbour, make_stamps
from tests.finished_run import finish_run
from tests.pages import Tags, browse, strip_text
from tideline.evaluate import evaluate
from tideline.params import Evaluation, load_params
from tideline.report.classification import draw_image, image_side
from tideline.report.numbers import write_number, write_seconds, write_share, write_signed, write_tick
from tideline.report.svg import Axis, Canvas, trace

PARAMS = replace(
    load_params(Path(__file__).resolve().parents[1] / "params.yaml"),
    models=("naive", "linear", "boosted"),
    evaluation=Evaluation(bootstrap=100, levels=(0.8, 0.95)),
)
ALWAYS = {"leaderboard", "ladder", "agreement", "predicted", "residuals", "coverage", "importance", "slices", "misses",
          "learning", "serve", "provenance"}  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of a real regression in time order with a map, and of a simulated classification."""
    found = {}
    for task, rows, simulated in ((HARBOUR, make_harbour(), False), (STAMPS, make_stamps(), True)):
        layout = finish_run(tmp_path_factory.mktemp(task.name), task, *rows, simulated=simulated)
        evaluate(task, PARAMS, layout)
        found[task.name] = layout.reports / "report.html"
    return found


@pytest.mark.parametrize("name", ["harbour", "stamps"])
def test_page_is_well_formed_and_loads_nothing(pages: dict[str, Path], name: str) -> None:
    page = pages[name].read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert len(tags.ids) == len(set(tags.ids))
    assert not [pair for pair in tags.attributes if pair[0] in ("src", "href", "srcset", "data", "action")]
    assert not re.search(r"https?://|@import|url\(|fetch\(|import\(", page)
    assert len(page) < 1_500_000


@pytest.mark.parametrize(("name", "own"), [("harbour", {"map", "time"}), ("stamps", set())])
def test_page_has_its_sections_and_pictures(pages: dict[str, Path], name: str, own: set[str]) -> None:
    page = pages[name].read_text()
    tags = Tags()
    tags.feed(page)
    assert ALWAYS | own == set(tags.ids) - {"look"}
    labels = {value for key, value in tags.attributes if key == "aria-label"}
    if name == "harbour":
        assert {
            "Predicted against actual values",
            "Distribution of residuals",
            "Residuals on the map",
            "Actual values on the map",
            "Actual and predicted over time",
            "Learning curve of boosted",
        } <= labels
    else:
        assert {"Confusion matrix", "Calibration", "Importance of each pixel"} <= labels


def test_banner_stands_on_simulated_reports_alone(pages: dict[str, Path]) -> None:
    assert 'class="banner"' in pages["stamps"].read_text()
    assert "Simulated data" in strip_text(pages["stamps"].read_text())
    assert 'class="banner"' not in pages["harbour"].read_text()


def test_page_says_the_figures_and_who_is_out(pages: dict[str, Path]) -> None:
    record = json.loads((pages["harbour"].parent / "metrics.json").read_text())
    words = strip_text(pages["harbour"].read_text())
    test = record["test"]
    for value in (test["rmse"], test["mae"], *test["rmse_ci95"], record["cv"]["linear"]["mean"]):
        assert write_number(value, 4) in words
    assert write_share(record["coverage"]["0.8"]["coverage"]) in words
    assert "out of the contest: parity failed, by 0.3" in words
    assert "d" * 64 in words and "People on board" in words
    assert "&#34;predictions&#34;: [" in words and "&#34;intervals&#34;: {&#34;0.8&#34;: [[" in words
    assert "make serve TASK=harbour" in words and "day&#34;: &#34;2020-" in pages["harbour"].read_text()


def test_text_of_the_data_is_escaped(pages: dict[str, Path]) -> None:
    page = pages["harbour"].read_text()
    assert "north <quay>" not in page
    assert "north &lt;quay&gt;" in page
    assert "Fish landed &amp; sold" in page


@pytest.mark.browser
@pytest.mark.parametrize(("name", "look"), [("harbour", "light"), ("stamps", "dark")])
def test_a_browser_draws_it(pages: dict[str, Path], chromium: str, tmp_path: Path, name: str, look: str) -> None:
    from PIL import Image

    page = tmp_path / "page.html"
    page.write_text(pages[name].read_text().replace('<html lang="en">', f'<html lang="en" data-look="{look}">'))
    picture = tmp_path / "page.png"
    browse(chromium, tmp_path, page, f"--screenshot={picture}", "--window-size=1280,3600", "--hide-scrollbars")
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape == (3600, 1280, 3)
    corner = pixels[1500, 4]
    assert (corner.mean() > 200) == (look == "light")
    drawn = (np.abs(pixels - corner).sum(axis=2) > 60).mean(axis=1)
    assert (drawn[:3000] > 0.003).mean() > 0.4  # words and pictures from top to bottom
    assert len(np.unique(pixels.reshape(-1, 3)[::37] // 8, axis=0)) > 60  # many shades: pictures and not a bare page


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 640])
def test_nothing_sticks_out(pages: dict[str, Path], chromium: str, tmp_path: Path, width: int) -> None:
    page = tmp_path / "page.html"
    probe = """<script>addEventListener("load", () => {
      document.getElementById("look").click();
      const root = document.documentElement, pictures = [...document.querySelectorAll("main svg")];
      const flat = pictures.filter(s => s.getBoundingClientRect().height < 20);
      document.title = `wide=${root.scrollWidth - root.clientWidth} flat=${flat.length} look=${root.dataset.look}`;
    })</script></body>"""
    page.write_text(pages["harbour"].read_text().replace("</body>", probe))
    dom = browse(chromium, tmp_path, page, "--dump-dom", f"--window-size={width},900")
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title is not None
    assert title.group(1).startswith("wide=0 flat=0 look=")
    assert title.group(1).endswith(("dark", "light"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (36912.4, "36,912"),
        (0.01234, "0.0123"),
        (108.83, "109"),
        (2.1e-6, "2.1·10⁻⁶"),
        (-340831.0, "−340,831"),
        (0.0, "0"),
        (float("nan"), "–"),
        (None, "–"),
    ],
)
def test_numbers_are_written_for_people(value: float | None, text: str) -> None:
    assert write_number(value) == text


def test_other_numbers_are_written_for_people() -> None:
    assert (write_signed(5.0), write_signed(-5.0), write_signed(0.0)) == ("+5.00", "−5.00", "0")
    assert (write_tick(150_000), write_tick(-0.25), write_tick(2.5e6)) == ("150k", "−0.25", "2.5M")
    assert (write_seconds(0.25), write_seconds(12.34), write_seconds(125)) == ("250 ms", "12.3 s", "2 min 5 s")
    assert write_share(0.8049) == "80.5 %"


def test_axis_maps_and_picks_round_ticks() -> None:
    axis = Axis(0, 500_000, 10, 110)
    assert (axis(0), axis(250_000), axis(500_000)) == (10, 60, 110)
    assert axis.ticks(5) == [0, 100_000, 200_000, 300_000, 400_000, 500_000]
    assert Axis(-1, 1, 0, 1).ticks(4) == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert Axis(3, 3, 0, 1).ticks() == [3]


def test_canvas_escapes_and_lines_break_at_gaps() -> None:
    canvas = Canvas(10, 10, 'a "label"')
    canvas.text(1, 2, "<b>")
    assert "&lt;b&gt;" in canvas.render() and "&#34;label&#34;" in canvas.render()
    assert trace(np.array([0.0, 1.0, 2.0, 3.0]), np.array([5.0, np.nan, 6.0, 7.25])) == "M0 5M2 6L3 7.2"


def test_dots_are_all_drawn_whatever_their_layer() -> None:
    canvas = Canvas(10, 10, "dots")
    colour = np.arange(500) % 3
    canvas.dots(np.linspace(0, 10, 500), np.zeros(500), colour, ("red", "green", "blue"), 3)
    assert canvas.render().count("h0") == 500


def test_only_square_sets_of_like_columns_are_pictures() -> None:
    assert image_side(STAMPS) == 4
    assert image_side(HARBOUR) is None
    assert image_side(replace(STAMPS, columns=STAMPS.columns[:15])) is None
    assert draw_image(np.eye(4).ravel(), 4, "diagonal").count("h10v10") == 4
