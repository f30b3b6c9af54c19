"""Start and stop: what a person is told when there is nothing to serve, and an orderly end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.serving.real_server import ROOT, RealServer, clean_environment
from tests.serving.small_bundle import ROW
from tideline.bundle import Bundle, copy_bundle
from tideline.layout import Layout
from tideline.ledger import append_entry
from tideline.pointer import Pointer, move_pointer

FORBIDDEN = (
    "pandas", "sklearn", "scipy", "torch", "tensorflow", "keras", "lightgbm", "onnx", "skl2onnx", "evidently",
    "great_expectations", "prefect", "optuna", "plotly", "dvc",
)  # fmt: skip


def start(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A start that is expected to fail."""
    command = [sys.executable, "-m", "serving", *arguments]
    return subprocess.run(command, env=clean_environment(home, **variables), capture_output=True, text=True, timeout=60)


@pytest.fixture
def registry(tmp_path: Path, regression_bundle: Bundle) -> Path:
    """A project whose champion of `toy` is the small bundle."""
    layout = Layout("toy", tmp_path)
    version = f"v0001-{regression_bundle.digest[:8]}"
    (layout.registry / "versions").mkdir(parents=True)
    copy_bundle(regression_bundle, layout.registry / "versions" / version)
    append_entry(layout.registry / "ledger.jsonl", "promoted", version, regression_bundle.digest)
    move_pointer(layout, Pointer(version, regression_bundle.digest, 1))
    return tmp_path


def test_without_a_champion_the_way_out_is_named(tmp_path: Path) -> None:
    done = start(tmp_path, "--task", "housing")
    assert done.returncode == 1
    assert "make run TASK=housing" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_champion_is_refused_by_name(registry: Path) -> None:
    model = next(registry.glob("registry/toy/versions/*/model.onnx"))
    content = bytearray(model.read_bytes())
    content[100] ^= 1
    model.write_bytes(content)
    done = start(registry, "--task", "toy")
    assert done.returncode == 1
    assert str(model.parent) in done.stderr
    assert "model.onnx has sha256" in done.stderr


def test_a_champion_that_was_not_promoted_is_refused(registry: Path) -> None:
    pointer = registry / "registry/toy/champion.json"
    pointer.write_text(json.dumps({**json.loads(pointer.read_text()), "digest": "0" * 64}))
    done = start(registry, "--task", "toy")
    assert done.returncode == 1
    assert f"with digest {'0' * 64}, the ledger's champion is" in done.stderr


def test_a_truncated_ledger_is_refused(registry: Path) -> None:
    ledger = registry / "registry/toy/ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-20])
    done = start(registry, "--task", "toy")
    assert done.returncode == 1
    assert "the ledger ends at 0" in done.stderr and "tideline rollback toy --to VERSION" in done.stderr


def test_bentoml_itself_refuses_a_broken_champion_at_once(registry: Path) -> None:
    next(registry.glob("registry/toy/versions/*/reference.json")).unlink()
    done = subprocess.run(
        [sys.executable, "-m", "bentoml", "serve", "serving.service:TidelineService", "--working-dir", str(ROOT)],
        env=clean_environment(registry, TIDELINE_TASK="toy", BENTOML_HOME=str(registry / "bentoml")),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "reference.json is missing" in done.stdout + done.stderr


def test_a_taken_port_is_named(registry: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = start(registry, "--task", "toy", "--port", port)
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr


def test_an_unknown_setting_and_a_wrong_task_are_errors(registry: Path, regression_bundle: Bundle) -> None:
    done = start(registry, "--task", "toy", TIDELINE_SERVING_WORKER="2")
    assert done.returncode == 1
    assert "did you mean TIDELINE_SERVING_WORKERS?" in done.stderr
    done = start(registry, "--task", "bikes", "--bundle", str(regression_bundle.path))
    assert done.returncode == 1
    assert "is a bundle of 'toy'" in done.stderr


def test_several_workers_serve_the_champion_and_stop_in_order(registry: Path, regression_bundle: Bundle) -> None:
    with RealServer(["--task", "toy"], registry, TIDELINE_SERVING_WORKERS="2", TIDELINE_SERVING_TIMEOUT="5") as server:
        assert f"toy: by_hand v0001-{regression_bundle.digest[:8]}" in server.log
        assert server.predict([ROW]).json()["model"]["version"] == f"v0001-{regression_bundle.digest[:8]}"
        workers = psutil.Process(server.process.pid).children(recursive=True)
        assert len([w for w in workers if "_bentoml_impl.worker.service" in " ".join(w.cmdline())]) == 2

        # A request whose body is still under way when the server is told to stop is answered.
        body = json.dumps({"rows": [ROW]}).encode()
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                + f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body[:5]
            )
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            client.sendall(body[5:])
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
        begun = time.monotonic()
        assert server.process.wait(timeout=20) == 0
        assert time.monotonic() - begun < 10
        assert not any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers)
        assert "Traceback" not in server.log


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_the_worker_has_no_training_framework_in_memory(server: RealServer) -> None:
    server.predict([ROW])
    (worker,) = psutil.Process(server.process.pid).children()
    mapped = Path(f"/proc/{worker.pid}/maps").read_text()
    assert "onnxruntime" in mapped
    assert not [name for name in FORBIDDEN if f"site-packages/{name}/" in mapped]


IN_PROCESS = """
import asyncio, json, sys
from serving.service import TidelineService

async def main():
    app = TidelineService.to_asgi()
    async with app.inner.router.lifespan_context(app.inner):
        body, sent = sys.argv[1].encode(), []
        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}
        async def send(message):
            sent.append(message)
        for method, path in (("POST", "/predict"), ("GET", "/metrics"), ("GET", "/openapi.json"), ("POST", "/predict")):
            scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
                     "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http",
                     "headers": [(b"content-type", b"application/json"), (b"host", b"localhost")],
                     "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)}
            await app(scope, receive, send)
            assert sent[0]["status"] == 200, sent
            last, sent = sent[1]["body"], []
        print(json.loads(last)["predictions"])
asyncio.run(main())
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def test_no_training_framework_is_imported_to_serve(regression_bundle: Bundle, tmp_path: Path) -> None:
    environment = clean_environment(
        tmp_path, TIDELINE_BUNDLE=str(regression_bundle.path), BENTOML_HOME=str(tmp_path / "bentoml")
    )
    command = [sys.executable, "-c", IN_PROCESS, json.dumps({"rows": [ROW]})]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    *_, predictions, modules = done.stdout.splitlines()
    assert json.loads(predictions)
    assert not set(json.loads(modules)) & set(FORBIDDEN)
    assert "onnxruntime" in json.loads(modules)
