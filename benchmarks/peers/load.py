"""A closed loop: each connection sends its next request when its answer is here. wrk if it is installed, else Python.

The Python generator is one process that parses little; above some 6,000 requests a second it is what is measured.
"""

from __future__ import annotations

import json
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = """
wrk.method, wrk.body = "POST", io.open("{body}", "rb"):read("*a")
wrk.headers["Content-Type"] = "application/json"
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{{"requests": %d, "us": %d, "p50": %d, "p99": %d, "refused": %d, "broken": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write + e.timeout))
end
"""


@dataclass(frozen=True)
class Figures:
    """One measurement: requests a second, latency in milliseconds, answers that were no 2xx, connections that broke."""

    rate: float
    p50: float
    p99: float
    refused: int
    broken: int


def find_generator() -> str:
    """The name of the generator that is used."""
    return "wrk" if shutil.which("wrk") else "a Python process (install wrk: it is the bottleneck of the fast ones)"


def measure(port: int, path: str, body: bytes, connections: int, seconds: float) -> Figures:
    """Ask one thing for so many seconds."""
    if shutil.which("wrk"):
        return _run_wrk(port, path, body, connections, seconds)
    return _run_python(port, path, body, connections, seconds)


def _run_wrk(port: int, path: str, body: bytes, connections: int, seconds: float) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "body").write_bytes(body)
        script = Path(folder) / "post.lua"
        script.write_text(_SCRIPT.format(body=f"{folder}/body"))
        length = f"{max(1, round(seconds))}s"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{length}", "-s", str(script), f"http://127.0.0.1:{port}{path}"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = json.loads(said.splitlines()[-1])
    rate = found["requests"] / found["us"] * 1e6
    return Figures(rate, found["p50"] / 1e3, found["p99"] / 1e3, found["refused"], found["broken"])


def _run_python(port: int, path: str, body: bytes, connections: int, seconds: float) -> Figures:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    request = head.encode() + b"\r\n\r\n" + body
    selector = selectors.DefaultSelector()
    latencies: list[float] = []
    refused = broken = 0
    for _ in range(connections):
        client = socket.create_connection(("127.0.0.1", port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(client, selectors.EVENT_READ, [b"", time.perf_counter()])
        client.sendall(request)
    start, now = time.perf_counter(), 0.0
    while selector.get_map():
        for key, _ in selector.select():
            client, state = key.fileobj, key.data
            assert isinstance(client, socket.socket)
            received = client.recv(1 << 16)
            now = time.perf_counter()
            state[0] += received
            if received and not _is_whole(state[0]):
                continue
            if received:
                latencies.append(now - state[1])
                refused += not state[0].startswith(b"HTTP/1.1 2")
            else:
                broken += 1
            if received and now < start + seconds:
                state[0], state[1] = b"", now
                client.sendall(request)
            else:
                selector.unregister(client)
                client.close()
    latencies.sort()
    p50, p99 = (1e3 * latencies[int(share * (len(latencies) - 1))] for share in (0.5, 0.99))
    return Figures(len(latencies) / (now - start), p50, p99, refused, broken)


def _is_whole(response: bytes) -> bool:
    head, separator, rest = response.partition(b"\r\n\r\n")
    start = head.lower().find(b"content-length:")
    return bool(separator) and len(rest) >= int(head[start + 15 :].split(b"\r\n")[0])
