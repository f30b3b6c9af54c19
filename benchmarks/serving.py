"""The server under a bounded load on the loopback: `python -m benchmarks.serving --task housing [--seconds 5]`.

Starts the real server without and with its prediction log (a SQLite file in a temporary folder), prints the seconds
until it is ready, then requests a second, p50 and p99 of one-row requests over several connections, and rows a second
in bulk. The load generator is one process beside the server's worker.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
Observer = Callable[[float, float, bytes], None]


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--task", help="whose champion")
    chosen.add_argument("--bundle", help="this bundle instead")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--bulk", type=int, nargs="+", default=[64, 1000, 10_000])
    parser.add_argument("--log", nargs="+", choices=("off", "on"), default=["off", "on"])
    arguments = parser.parse_args()
    for log in arguments.log:
        measure(arguments, log)


def measure(arguments: argparse.Namespace, log: str) -> None:
    """Start, load and stop one server."""
    target = ["--task", arguments.task] if arguments.task else ["--bundle", arguments.bundle]
    with run_server(target, log) as (port, ready):
        model = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{port}/model").read())
        api = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json").read())
        row = api["components"]["schemas"]["PredictRequest"]["examples"][0]["rows"][0]
        print(
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores shared, {time.strftime('%Y-%m-%d')}"
        )
        print(
            f"{model['task']}: {model['name']} {model['version']}, {len(model['columns'])} columns, "
            f"one worker, log {log}"
        )
        print(f"  {'start to ready':32s}{ready:10.2f} s")
        load(port, [row], connections=8, seconds=1.0)  # warm
        for connections in arguments.connections:
            latencies = load(port, [row], connections, arguments.seconds)
            print(f"  {f'one row, {connections} connections':32s}{describe(latencies, arguments.seconds)}")
        for rows in arguments.bulk:
            latencies = load(port, [row] * rows, connections=1, seconds=arguments.seconds)
            per_second = rows * len(latencies) / sum(latencies)
            median = quantile(latencies, 0.5)
            print(f"  {f'{rows} rows, 1 connection':32s}{per_second:10,.0f} rows/s  p50 {median:8.2f} ms")


def describe(latencies: list[float], seconds: float) -> str:
    """Requests a second and quantiles."""
    return (
        f"{len(latencies) / seconds:10,.0f} req/s   p50 {quantile(latencies, 0.5):8.2f} ms"
        f"  p99 {quantile(latencies, 0.99):8.2f} ms"
    )


def quantile(latencies: list[float], share: float) -> float:
    """Quantile in milliseconds."""
    ordered = sorted(latencies)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def run_server(target: list[str], log: str) -> Iterator[tuple[int, float]]:
    """The server on a free port; yields the port and the seconds from start to ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "serving", *target, "--port", str(port)]
    with tempfile.TemporaryFile() as said, tempfile.TemporaryDirectory() as folder:
        variables = {"TIDELINE_SERVING_LOG": log, "TIDELINE_STORE_URL": f"sqlite:///{folder}/predictions.db"}
        start = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **variables}, stdout=said, stderr=said)
        try:
            while not is_ready(port):
                if process.poll() is not None or time.monotonic() - start > 60:
                    said.seek(0)
                    sys.exit(f"the server did not become ready:\n{said.read().decode()}")
                time.sleep(0.02)
            yield port, time.monotonic() - start
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def is_ready(port: int) -> bool:
    """What /readyz says."""
    try:
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).status == 200)
    except (urllib.error.URLError, OSError):
        return False


def load(
    port: int, rows: list[dict[str, Any]], connections: int, seconds: float, observe: Observer | None = None
) -> list[float]:
    """Seconds of each request of a closed loop: every connection sends its next request when the answer is here.

    `observe` is told when each request was sent and answered (perf_counter), and the answer; without it, one that is
    not a 200 ends the program.
    """
    body = json.dumps({"rows": rows}).encode()
    head = (
        "POST /predict HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    request = "\r\n".join((*head, "", "")).encode() + body
    selector = selectors.DefaultSelector()
    states = []
    for _ in range(connections):
        client = socket.create_connection(("127.0.0.1", port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        state = [client, b"", time.perf_counter()]
        selector.register(client, selectors.EVENT_READ, state)
        states.append(state)
        client.sendall(request)
    latencies: list[float] = []
    end = time.perf_counter() + seconds
    open_connections = connections
    while open_connections:
        for key, _ in selector.select():
            state = key.data
            state[1] += state[0].recv(1 << 20)
            if not is_whole(state[1]):
                continue
            now = time.perf_counter()
            if observe is not None:
                observe(state[2], now, state[1])
            elif not state[1].startswith(b"HTTP/1.1 200"):
                sys.exit(f"not answered: {state[1][:500]!r}")
            latencies.append(now - state[2])
            if now < end:
                state[1], state[2] = b"", now
                state[0].sendall(request)
            else:
                open_connections -= 1
                selector.unregister(state[0])
                state[0].close()
    return latencies


def is_whole(response: bytes) -> bool:
    """True if the header and as many bytes as it announces are here."""
    end = response.find(b"\r\n\r\n")
    if end < 0:
        return False
    start = response.find(b"content-length: ") + 16
    return len(response) >= end + 4 + int(response[start : response.find(b"\r\n", start)])


if __name__ == "__main__":
    main()
