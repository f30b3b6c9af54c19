"""What the server tells about itself: the model, the API, metrics."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from serving.asgi import Answer
from serving.metrics import CONTENT_TYPE, render_metrics
from serving.routing import Request, Route
from serving.worker import Worker

DOCS, PAGE = (Path(__file__).parents[1] / name for name in ("docs.html", "page.html"))
POLICY = (
    "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'"
)


class ModelRoutes:
    """Open to anybody: none of it tells about rows or keys."""

    def __init__(self, worker: Worker) -> None:
        self._versions, self._request_meter = worker.versions, worker.request_meter
        self._own = [] if worker.drift is None else [worker.drift]
        self.routes = [
            Route("/", "GET", self._show_page),
            Route("/docs", "GET", self._show_docs),
            Route("/metrics", "GET", self._show_metrics),
            Route("/model", "GET", self._describe_model),
            Route("/openapi.json", "GET", self._describe_api),
        ]

    async def _describe_model(self, request: Request) -> Answer:
        return Answer(200, msgspec.json.encode(self._versions.describe()))

    async def _describe_api(self, request: Request) -> Answer:
        return Answer(200, self._versions.current.champion.api_json)

    async def _show_docs(self, request: Request) -> Answer:
        return _show(DOCS)

    async def _show_page(self, request: Request) -> Answer:
        return _show(PAGE)

    async def _show_metrics(self, request: Request) -> Answer:
        self._request_meter.sync()
        body = await asyncio.get_running_loop().run_in_executor(None, render_metrics, *self._own)  # it reads files
        return Answer(200, body, CONTENT_TYPE)


def _show(page: Path) -> Answer:
    return Answer(200, page.read_bytes(), "text/html; charset=utf-8", {"content-security-policy": POLICY})
