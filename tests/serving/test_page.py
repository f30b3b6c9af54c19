"""The page at / in a real browser: a person tries a prediction, labels it, promotes and rolls back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Browser
from tests.serving.real_server import RealServer
from tests.serving.small_bundle import ROW, expected_value
from tests.serving.toy_registry import ToyRegistry
from tests.wait import wait_for
from tideline.bookkeeping import ledger_file
from tideline.keys import add_key
from tideline.ledger import read_ledger

pytestmark = pytest.mark.browser


def labels_taken(server: RealServer) -> list[str]:
    """What the metrics say of labels."""
    return [line for line in server.client.get("/metrics").text.splitlines() if line.startswith("tideline_labels_")]


@pytest.fixture
def browser(chromium: str, tmp_path: Path) -> Iterator[Browser]:
    with Browser(chromium, tmp_path / "profile") as running:
        yield running


def test_a_person_tries_a_prediction_and_labels_it(server: RealServer, browser: Browser) -> None:
    browser.open(server.url)
    browser.wait_for("document.querySelectorAll('#fields input, #fields select').length === 7")
    assert browser.text("#title") == "Toy houses"
    browser.fill('[name="rooms"]', "12")
    browser.click("#send")
    browser.wait_for("document.getElementById('prediction')")
    expected = expected_value({**ROW, "rooms": 12})
    assert float(browser.text("#prediction").split()[0].replace(",", "")) == pytest.approx(expected, abs=0.01)
    assert "80 %:" in browser.run("document.querySelector('#result svg').textContent")
    browser.wait_for("document.querySelector('#why svg')")
    assert "rooms" in browser.run("document.querySelector('#why').textContent")
    before = labels_taken(server)
    for nothing in ("", "  ", "1e999", "about 400"):
        browser.fill("#label", nothing)
        browser.click("#tell")
        browser.wait_for("document.querySelector('#result').innerText.includes('that is no number')")
        browser.run("document.querySelector('#tell').nextElementSibling.textContent = ''")
    assert labels_taken(server) == before
    browser.fill("#label", "400")
    browser.click("#tell")
    browser.wait_for("document.querySelector('#result').innerText.includes('accepted')")
    browser.wait_for("document.getElementById('latency').innerText.endsWith(' ms')")


def test_a_wrong_value_is_shown_at_its_field(server: RealServer, browser: Browser) -> None:
    browser.open(server.url)
    browser.wait_for("document.querySelector('[name=\"income\"]')?.value")
    browser.fill('[name="income"]', "99")
    browser.click("#send")
    browser.wait_for("document.querySelector('.wrong')")
    assert browser.run("document.querySelector('.wrong').name") == "income"
    assert "expected a number from 0.5 to 15, got 99" in browser.text("#result")


def test_an_admin_promotes_and_rolls_back(browser: Browser, tmp_path: Path) -> None:
    registry = ToyRegistry(tmp_path)
    key = add_key(tmp_path / "store" / "keys.json", "ann", ["admin"])
    with RealServer(["--task", "toy"], tmp_path) as server:
        registry.challenge(1, share=0.25)
        browser.open(server.url)
        browser.wait_for("document.querySelector('#versions .canary')")
        assert "25 % of the requests" in browser.text("#versions")
        assert browser.run("[...document.querySelectorAll('#versions button')].every(b => b.disabled)")
        browser.run("window.prompt = () => 'it did well'")
        browser.fill("#key", "tl_wrong")
        press = "[...document.querySelectorAll('#versions button')].find(b => b.innerText === '{}' && !b.disabled)"
        for attempt, said in (("tl_wrong", "the key is not known"), (key, f"promoted: {registry.versions[1]}")):
            browser.fill("#key", attempt)
            browser.wait_for(press.format("promote"))
            browser.run(press.format("promote") + ".click()")
            browser.wait_for(f"document.getElementById('said').innerText.includes('{said}')")
        browser.wait_for(f"document.getElementById('since').innerText.includes('{registry.versions[1]}')")
        browser.wait_for(press.format("roll back"))
        browser.run(press.format("roll back") + ".click()")
        wait_for(lambda: server.client.get("/model").json()["version"] == registry.versions[0])
    entries = read_ledger(ledger_file(registry.layout)).entries
    assert [e.action for e in entries] == ["promoted", "canary", "promoted", "rolled back"]
    assert all(e.reasons == ("it did well",) and e.evidence["by"] == "ann" for e in entries[2:])


def test_the_page_needs_no_network_and_fits(server: RealServer, browser: Browser) -> None:
    response = server.client.get("/")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "https://" not in response.text and "src=" not in response.text
    browser.open(server.url)
    browser.wait_for("document.getElementById('champion').innerText === 'by_hand'")
    assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
