"""The BentoML service: it owns workers, start-up, probes and packing; the application answers.

Configured for speed: no trace spans, no access log line a prediction, none of BentoML's own request metrics.
"""

from __future__ import annotations

import gc
import logging
import sys

import bentoml

from serving.allocator import tune_allocator
from serving.app import Application
from serving.checks import check_settings
from serving.front import make_service_class
from serving.protocol import install
from serving.settings import Settings

SETTINGS = Settings.from_environment()
application = Application(SETTINGS)
install(application)


@bentoml.service(
    name="tideline",
    workers=SETTINGS.workers,
    traffic={"timeout": SETTINGS.timeout},
    metrics={"enabled": False},  # serving/metrics.py has them
    tracing={"excluded_urls": [".*"]},
    logging={"access": {"skip_paths": ["/healthz", "/livez", "/readyz"]}},
    service_class=make_service_class(application),
)
@bentoml.asgi_app(application, path="/")
class TidelineService:
    """Serves the champion of one task."""

    def __init__(self) -> None:
        tune_allocator()
        application.open()
        # BentoML starts uvicorn with an access log that nobody sees; without a taker uvicorn makes no lines.
        logging.getLogger("uvicorn.access").propagate = False
        # What is loaded now stays: the collector need not walk it, and full passes become rare.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 50, 100)
        sys.setswitchinterval(0.0001)  # seconds that the event loop waits for the interpreter behind another thread

    async def __is_ready__(self) -> bool:
        """What /readyz asks."""
        return application.is_ready

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check() -> None:
        """Before the first worker starts: what is broken ends the server."""
        check_settings(SETTINGS)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Finish what has begun."""
        application.close()
