"""The page that links everything: one file, and the state of all services as JSON."""

from __future__ import annotations

import json
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from pipelines.platform.ports import HOST
from pipelines.platform.standing import Standing
from pipelines.platform.supervisor import Supervisor
from tideline.layout import Layout

_PAGE = Path(__file__).with_name("page.html")
_HTML, _JSON = "text/html; charset=utf-8", "application/json"
# Nothing is loaded from elsewhere; reports carry their pictures and scripts with them.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class PageServer:
    """Answers GET on 127.0.0.1 for as long as a `with` block lasts: `/`, `/status.json`, `/reports/TASK.html`."""

    def __init__(self, port: int, root: Path, tasks: list[str], supervisor: Supervisor) -> None:
        self._root, self._tasks, self._supervisor = root, tasks, supervisor
        self._standing, self._lock = Standing(root, tasks), threading.Lock()
        self._server = ThreadingHTTPServer((HOST, port), self._make_handler())
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="page", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def find(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        """Status, media type and body for a path."""
        if path == "/":
            return HTTPStatus.OK, _HTML, _PAGE.read_bytes()
        if path == "/status.json":
            return HTTPStatus.OK, _JSON, json.dumps(self._describe()).encode()
        for task in self._tasks:
            report = Layout(task, self._root).reports / "report.html"
            if path == f"/reports/{task}.html" and report.is_file():
                return HTTPStatus.OK, _HTML, report.read_bytes()
        message = f"there is no {path[:100]!r}"
        return HTTPStatus.NOT_FOUND, _JSON, json.dumps({"error": {"message": message}}).encode()

    def _describe(self) -> dict[str, Any]:
        with self._lock:
            tasks = self._standing.read()
        services = [
            {
                "name": keeper.service.name, "title": keeper.service.title, "url": keeper.service.url,
                "links": dict(keeper.service.links), "log": str(keeper.log.relative_to(self._root)),
                "state": keeper.condition.state, "reason": keeper.condition.reason,
                "since": keeper.condition.since, "starts": keeper.condition.starts,
            }
            for keeper in self._supervisor.keepers
        ]  # fmt: skip
        return {"now": time.time(), "project": str(self._root), "services": services, "tasks": tasks}

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        page = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10.0  # seconds that a connection may say nothing

            def do_GET(self) -> None:
                names = (f"{HOST}:{self.server.server_port}", f"localhost:{self.server.server_port}")  # type: ignore[attr-defined]
                if self.headers.get("host") not in names:  # a name that somebody else lets point here
                    status, kind, body = HTTPStatus.FORBIDDEN, _JSON, b'{"error": {"message": "unknown host"}}'
                else:
                    status, kind, body = page.find(unquote(urlsplit(self.path).path))
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.send_header("content-security-policy", _POLICY)
                self.send_header("x-content-type-options", "nosniff")
                self.send_header("referrer-policy", "no-referrer")
                self.send_header("cache-control", "no-store")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """The page asks every two seconds: no line for each."""

        return Handler
