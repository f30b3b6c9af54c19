"""The way into a worker: requests for the application go straight to it, BentoML's own endpoints to BentoML.

BentoML builds the ASGI application that its worker hands to uvicorn with `Service.to_asgi`, behind middlewares for
traces, access log, time-outs and contexts. They cost as much as the prediction and serve nothing here: the application
has its own metrics, time-out and error answers. What BentoML answers itself passes them still, as do start and end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bentoml

from serving.asgi import Receive, Scope, Send
from serving.routing import ELSEWHERE


class FrontDoor:
    """ASGI: `inner` gets its own paths with their method and the lifespan, `application` all the rest."""

    def __init__(self, inner: Any, application: Any, own_paths: Mapping[str, str]) -> None:
        self.inner, self._application, self._own_paths = inner, application, own_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] == "lifespan":
            await self.inner(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] in self._list_methods(scope["path"]):
            # No headers: none counts there, and BentoML's access log breaks on one that is not UTF-8.
            await self.inner({**scope, "headers": []}, receive, send)
        else:
            await self._application(scope, receive, send)

    def _list_methods(self, path: str) -> tuple[str, ...]:
        method = self._own_paths.get(path)
        if method is None:
            return ()
        return ("GET", "HEAD") if method == "GET" else (method,)


def make_service_class(application: Any) -> Any:
    """BentoML's service class, with the front door before what it builds."""

    class DirectService(bentoml.Service):  # type: ignore[misc]
        def to_asgi(self, is_main: bool = True) -> FrontDoor:
            return FrontDoor(super().to_asgi(is_main=is_main), application, ELSEWHERE)

    return DirectService
