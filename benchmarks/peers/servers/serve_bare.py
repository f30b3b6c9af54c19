"""Tideline's own application on uvicorn alone: what BentoML's server and middlewares cost is the difference."""

from __future__ import annotations

import gc
from typing import Any

from serving.app import Application
from serving.settings import Settings

application = Application(Settings.from_environment())


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The application, opened and closed by uvicorn's lifespan."""
    if scope["type"] != "lifespan":
        await application(scope, receive, send)
        return
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            application.open()
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 50, 100)
            await send({"type": "lifespan.startup.complete"})
        else:
            application.close()
            await send({"type": "lifespan.shutdown.complete"})
            return
