"""What the platform is made of: each service's command, its environment, and how one sees that it answers."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pipelines.platform.ports import HOST

PORTS = {"page": 4000, "prefect": 4200, "evidently": 8000}
FIRST_SERVING_PORT = 3000
# Nobody is told what runs here, and a log has each line at once.
COMMON = {
    "PYTHONUNBUFFERED": "1",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
_TIMEOUT = 3.0  # seconds that a probe waits for its answer
_POLL_SECONDS = 90.0  # within which a deployment must have been asked for; runners ask every ten

# What is wrong with a service that was started at a time (seconds since 1970); empty if it answers.
Probe = Callable[[float], str]


@dataclass(frozen=True)
class Service:
    """One process. url: where a person looks at it; empty if there is nothing to see. port: the one that it listens on,
    if it does. needs: names of services that
    have to be ready before it starts. grace: seconds it is given to end. every: seconds between looks at a ready
    one."""

    name: str
    title: str
    command: Sequence[str]
    probe: Probe
    url: str = ""
    port: int | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    grace: float = 15.0
    every: float = 2.0


def list_services(
    root: Path, tasks: Sequence[str], ports: Mapping[str, int], named: Sequence[str] = ()
) -> list[Service]:
    """All services of a project. `ports` is what `choose_ports` gave; `tasks` have a champion. Flows are scheduled for
    the tasks that are `named`, or else for all of params.yaml."""
    prefect = _url(ports["prefect"])
    chosen = [word for task in named for word in ("--task", task)]
    flows = {
        "PREFECT_HOME": str(root / ".tideline" / "prefect"),
        "PREFECT_API_URL": f"{prefect}/api",
    }
    found = [
        Service(
            "prefect", "Prefect: flow runs and schedules",
            _python("prefect", "server", "start", "--host", HOST, "--port", str(ports["prefect"])),
            probe=lambda started: _ask(ports["prefect"], "/api/health"), url=prefect, port=ports["prefect"],
            environment=flows,
        ),
        Service(
            "deployments", "Deployments: what starts flows on schedule", _python("pipelines.deployments", *chosen),
            probe=lambda started: _ask_deployments(ports["prefect"], started), url=f"{prefect}/deployments",
            environment=flows, needs=("prefect",), grace=20.0, every=10.0,
        ),
    ]  # fmt: skip
    for task in tasks:
        name = serving_name(task)
        url = _url(ports[name])
        found.append(
            Service(
                name, f"Prediction service of {task}",
                _python("serving", "--task", task, "--host", HOST, "--port", str(ports[name])),
                probe=ask_http(ports[name], "/readyz"), url=url, port=ports[name],
                links={"API": f"{url}/docs", "metrics": f"{url}/metrics"}, environment={"TIDELINE_HOME": str(root)},
            )
        )  # fmt: skip
    workspace = root / "reports" / "evidently"
    found.append(
        Service(
            "evidently", "Evidently: drift reports over time",
            _python("evidently.cli", "ui", "--workspace", str(workspace), "--host", HOST, "--port",
                    str(ports["evidently"])),
            probe=ask_http(ports["evidently"], "/api/projects"), url=_url(ports["evidently"]), port=ports["evidently"],
        )
    )  # fmt: skip
    return found


def choose_ports(tasks: Sequence[str], chosen: Mapping[str, int]) -> dict[str, int]:
    """A port for the page and each service that listens; those that were chosen, or the usual ones."""
    usual = {**PORTS, **{serving_name(task): FIRST_SERVING_PORT + i for i, task in enumerate(tasks)}}
    return {name: chosen.get(name, port) for name, port in usual.items()}


def serving_name(task: str) -> str:
    """Name of the prediction service of a task."""
    return f"serving-{task}"


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def _url(port: int) -> str:
    return f"http://{HOST}:{port}"


def ask_http(port: int, path: str) -> Probe:
    """The probe of a service that answers GET with 200."""
    return lambda started: _ask(port, path)


def _ask(port: int, path: str) -> str:
    """What is wrong with an answer that should be 200."""
    status, _ = _request(port, "GET", path)
    if isinstance(status, str):
        return status
    return "" if status == 200 else f"{path} answers {status}"


def _ask_deployments(port: int, started: float) -> str:
    """The runner of deployments has no page of its own: Prefect knows when it last asked for work."""
    latest = {"sort": "UPDATED_DESC", "limit": 5}
    status, body = _request(port, "POST", "/api/deployments/filter", json.dumps(latest))
    if status != 200:
        return f"Prefect: {status}"
    asked = [d["last_polled"] for d in json.loads(body) if d.get("last_polled")]
    times = [datetime.fromisoformat(text).timestamp() for text in asked]
    if not times or max(times) < started:
        return "has not asked Prefect for work yet"
    age = datetime.now().timestamp() - max(times)
    return "" if age < _POLL_SECONDS else f"has not asked Prefect for work for {age:.0f} s"


def _request(port: int, method: str, path: str, body: str | None = None) -> tuple[int | str, Any]:
    """Status and body; or words, if there is no answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT)
    try:
        connection.request(method, path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    except TimeoutError:
        return f"no answer on port {port} within {_TIMEOUT:g} s", b""
    except (OSError, http.client.HTTPException):
        return f"nothing answers on port {port}", b""
    finally:
        connection.close()
