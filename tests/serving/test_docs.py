"""The page at /docs in a real browser."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.serving.real_server import RealServer


@pytest.mark.browser
def test_the_page_shows_this_tasks_columns(server: RealServer, chromium: str, tmp_path: Path) -> None:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--virtual-time-budget=5000"]
    done = subprocess.run(
        [chromium, *flags, "--dump-dom", f"{server.url}/docs"], capture_output=True, text=True, timeout=60
    )
    page = done.stdout
    assert "<title>Toy houses API</title>" in page
    assert "élan (m/s)" in page
    assert 'inland, near bay, is"land' in page
    assert "10,000 USD" in page
    assert "/predict" in page
    assert '<pre id="answer" aria-live="polite"></pre>' in page  # where a failure would be shown


def test_the_page_needs_no_network(server: RealServer) -> None:
    response = server.client.get("/docs")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "http://" not in response.text
    assert "https://" not in response.text
