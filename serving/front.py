"""The way into a worker: requests for the application go straight to it, BentoML's own endpoints to BentoML.

BentoML builds the ASGI application that its worker hands to uvicorn with `Service.to_asgi`, behind middlewares for
traces, access log, time-outs and contexts. They cost as much as the prediction and serve nothing here: the application
has its own metrics, time-out and error answers. What BentoML answers itself passes them still, as do start and end.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import bentoml

from serving.asgi import Receive, Scope, Send
from serving.routing import ELSEWHERE


class FrontDoor:
    """ASGI: `inner` gets its own paths and the lifespan, `application` all the rest."""

    def __init__(self, inner: Any, application: Any, own_paths: Collection[str]) -> None:
        self.inner, self._application, self._own_paths = inner, application, frozenset(own_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] == "lifespan" or scope["path"] in self._own_paths:
            await self.inner(scope, receive, send)
        else:
            await self._application(scope, receive, send)


def make_service_class(application: Any) -> Any:
    """BentoML's service class, with the front door before what it builds."""

    class DirectService(bentoml.Service):  # type: ignore[misc]
        def to_asgi(self, is_main: bool = True) -> FrontDoor:
            return FrontDoor(super().to_asgi(is_main=is_main), application, ELSEWHERE)

    return DirectService
