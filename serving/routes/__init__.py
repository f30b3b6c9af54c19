"""The paths of the server, one file a group."""

from __future__ import annotations

from serving.routes.explain import ExplainRoutes
from serving.routes.feedback import FeedbackRoutes
from serving.routes.model import ModelRoutes
from serving.routes.predict import PredictRoutes
from serving.routes.v2 import V2Routes
from serving.routes.versions import VersionRoutes
from serving.routing import Route
from serving.worker import Worker


def list_routes(worker: Worker) -> list[Route]:
    """All routes that this worker's settings call for."""
    routes = [*PredictRoutes(worker).routes, *ExplainRoutes(worker).routes, *ModelRoutes(worker).routes]
    routes += V2Routes(worker).routes
    if worker.log is not None:
        routes += FeedbackRoutes(worker, worker.log).routes
    if worker.versions.layout is not None:
        routes += VersionRoutes(worker, worker.versions.layout).routes
    return routes
