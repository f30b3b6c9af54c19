"""A real HTTP server that takes alerts, or does not: it follows a script of answers, then takes everything."""

from __future__ import annotations

import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Receiver:
    """`script`: what the next requests meet: a status, `hang` (no answer), `drip` (one byte after the other), or
    `refuse` (the connection is closed). `bodies`: what was taken (2xx); `asked`: how many requests came."""

    def __init__(self, *script: int | str) -> None:
        self.script = deque(script)
        self.bodies: list[Any] = []
        self.asked = 0
        self._closing = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.asked += 1
                step = receiver.script.popleft() if receiver.script else 200
                if step == "refuse":
                    self.close_connection = True
                elif step == "hang":
                    receiver._closing.wait(30)
                elif step == "drip":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                    while not receiver._closing.wait(0.05):
                        self.wfile.write(b"x: y\r\n")
                else:
                    if isinstance(step, int) and 200 <= step < 300:
                        receiver.bodies.append(body)
                    self.send_response(int(step))
                    if step == 302:
                        self.send_header("Location", receiver.url)
                    self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that gave up

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hook/T0PSECRET"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
