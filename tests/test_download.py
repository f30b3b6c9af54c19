"""Downloads against a local server that works, stalls, truncates, lies, trickles and refuses."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tideline import data_download
from tideline.catalog import get_task
from tideline.contracts import TidelineError
from tideline.data import fetch
from tideline.data_download import WrongChecksumError, download
from tideline.layout import Layout
from tideline.params import load_params
from tideline.simulator import make_frame

PARAMS = load_params(Path(__file__).parents[1] / "params.yaml")
CONTENT = b"a,b\n" + b"1,2\n" * 50_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def pack_tar(member: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in (("../evil.csv", b"evil"), ("/etc/evil.csv", b"evil"), (member, content)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo("link.csv")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()


def pack_zip(member: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../evil.csv", b"evil")
        archive.writestr(member, content)
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Serves `files`; the first part of the path says how."""

    files: dict[str, bytes]
    release: threading.Event

    def do_GET(self) -> None:
        _, manner, name = self.path.split("/", 2)
        if manner == "missing":
            self.send_error(404)
            return
        if manner == "moved":
            self.send_response(302)
            self.send_header("Location", f"/works/{name}")
            self.end_headers()
            return
        body = b"<html>please sign in</html>" if manner == "lies" else self.files[name]
        if manner == "silent":
            self.release.wait(20)
            return
        self.send_response(200)
        if manner != "unsized":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if manner == "stalls":
            self.wfile.write(body[:1000])
            self.wfile.flush()
            self.release.wait(20)
        elif manner == "truncates":
            self.wfile.write(body[:-100])
        elif manner == "trickles":
            for byte in body:
                if self.release.wait(0.05):
                    return
                self.wfile.write(bytes([byte]))
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    Handler.files = {
        "plain.csv": CONTENT,
        "data.tgz": pack_tar("folder/data.csv", CONTENT),
        "data.zip": pack_zip("data.csv", CONTENT),
        "broken.tgz": pack_tar("folder/data.csv", CONTENT)[:-60],
    }
    Handler.release = threading.Event()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    Handler.release.set()
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("path", "member"),
    [
        ("works/plain.csv", ""),
        ("unsized/plain.csv", ""),
        ("moved/plain.csv", ""),
        ("works/data.tgz", "folder/data.csv"),
        ("works/data.zip", "data.csv"),
    ],
)
def test_a_file_arrives_whole(server: str, tmp_path: Path, path: str, member: str) -> None:
    target = tmp_path / "new" / "data.csv"
    assert download((f"{server}/{path}",), target, member, (SHA256,), timeout=5) == f"{server}/{path}"
    assert target.read_bytes() == CONTENT
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["data.csv"]


@pytest.mark.parametrize(
    ("path", "member", "reason"),
    [
        ("missing/plain.csv", "", "HTTP 404"),
        ("silent/plain.csv", "", "timed out"),
        ("stalls/plain.csv", "", "timed out"),
        ("truncates/plain.csv", "", "cut off: 199,904 of 200,004 bytes"),
        ("works/broken.tgz", "folder/data.csv", "end-of-stream"),
        ("lies/data.tgz", "folder/data.csv", "neither a zip nor a tar archive"),
        ("works/data.tgz", "other.csv", r"holds no file 'other.csv', only .*folder/data.csv"),
        ("works/data.tgz", "link.csv", "holds no file 'link.csv'"),
        ("works/data.zip", "other.csv", "holds no 'other.csv'"),
    ],
)
def test_a_failure_is_explained_and_leaves_nothing(
    server: str, tmp_path: Path, path: str, member: str, reason: str
) -> None:
    start = time.monotonic()
    with pytest.raises(TidelineError, match=reason) as caught:
        download((f"{server}/{path}",), tmp_path / "data.csv", member, (SHA256,), timeout=0.5)
    assert not isinstance(caught.value, WrongChecksumError)
    assert f"{server}/{path}" in str(caught.value)
    assert time.monotonic() - start < 5
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_names_both_hashes(server: str, tmp_path: Path) -> None:
    target = tmp_path / "data.csv"
    target.write_text("older")
    with pytest.raises(WrongChecksumError) as caught:
        download((f"{server}/lies/plain.csv",), target, "", (SHA256,), timeout=5)
    assert hashlib.sha256(b"<html>please sign in</html>").hexdigest() in str(caught.value)
    assert SHA256 in str(caught.value)
    assert target.read_text() == "older"
    assert list(tmp_path.iterdir()) == [target]


def test_a_trickle_ends(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_download, "STALLS", 2)
    with pytest.raises(TidelineError, match="too slow"):
        download((f"{server}/trickles/plain.csv",), tmp_path / "data.csv", timeout=0.3)
    assert list(tmp_path.iterdir()) == []


def test_the_next_address_is_tried_and_all_reasons_told(server: str, tmp_path: Path) -> None:
    bad, good = f"{server}/missing/plain.csv", f"{server}/works/plain.csv"
    assert download((bad, good), tmp_path / "data.csv", timeout=5) == good
    with pytest.raises(TidelineError) as caught:
        download((bad, "http://127.0.0.1:9/none", "file:///etc/passwd"), tmp_path / "other.csv", timeout=5)
    assert "HTTP 404" in str(caught.value) and "not reachable" in str(caught.value)
    assert "file:///etc/passwd: not an http(s) address" in str(caught.value)


@pytest.mark.parametrize("text", ["soon", "0", "-3", "nan", "inf"])
def test_the_timeout_of_the_environment_is_checked(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDELINE_DOWNLOAD_TIMEOUT", text)
    with pytest.raises(TidelineError, match=f"TIDELINE_DOWNLOAD_TIMEOUT is '{text}'"):
        data_download.read_timeout()


def test_fetch_downloads_and_checks(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDELINE_DATA_DIR", raising=False)
    monkeypatch.setenv("TIDELINE_DOWNLOAD_TIMEOUT", "5")
    text = make_frame(1500, 1).to_csv(index=False).encode()
    Handler.files["housing.tgz"] = pack_tar("housing/housing.csv", text)
    task, layout = get_task("housing"), Layout("housing", tmp_path)
    good = replace(task.source, urls=(f"{server}/works/housing.tgz",), sha256=(hashlib.sha256(text).hexdigest(),))
    fetch(replace(task, source=good), PARAMS, layout, "auto")
    manifest = json.loads((layout.raw / "manifest.json").read_text())
    assert (manifest["source"], manifest["simulated"], manifest["rows"]) == ("download", False, 1500)
    assert manifest["origin"] == good.urls[0] and manifest["sha256"] == good.sha256[0]
    assert len(manifest["tried"]) == 2
    before = (layout.raw / "data.parquet").read_bytes()

    other = replace(good, sha256=("0" * 64,))
    for source in ("auto", "download"):  # a wrong file is an error even where the simulator could step in
        with pytest.raises(TidelineError, match=f"(?s){good.sha256[0]}.*{'0' * 64}"):
            fetch(replace(task, source=other), PARAMS, layout, source)
    assert (layout.raw / "data.parquet").read_bytes() == before
    assert sorted(p.name for p in layout.raw.parent.iterdir()) == ["raw"]
