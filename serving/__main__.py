"""Start the server: `python -m serving --task housing --port 3000`. Settings come from the environment, too."""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import sys
from dataclasses import replace
from pathlib import Path

from serving.checks import check_settings
from serving.memory_folder import open_memory_folder
from serving.settings import ROOT, Settings
from tideline.contracts import TidelineError

SERVICE = "serving.service:TidelineService"


def main() -> None:
    """Check what can be checked, then become BentoML's server process."""
    try:
        settings = _read_arguments()
        described = check_settings(settings)
        _check_port(settings)
    except TidelineError as error:
        sys.exit(f"serve: {error}")
    print(f"serving on http://{settings.host}:{settings.port} (docs at /docs) {described}", flush=True)
    environment = build_environment(settings)
    command = build_command(settings)
    os.chdir(ROOT)
    os.execve(command[0], command, environment)  # the process keeps its number, so signals reach the server


def build_command(settings: Settings) -> list[str]:
    """BentoML's server for this service."""
    options = ["--host", settings.host, "--port", str(settings.port), "--working-dir", str(ROOT)]
    timeouts = ["--timeout-keep-alive", "75", "--timeout-graceful-shutdown", str(int(settings.timeout) + 1)]
    return [sys.executable, "-m", "bentoml", "serve", SERVICE, *options, *timeouts]


def build_environment(settings: Settings) -> dict[str, str]:
    """This process's environment with the settings, no telemetry, and a BentoML home of its own, if possible in memory.

    BentoML empties the folder of metrics there whenever a server starts, so two servers must not share it.
    """
    environment = {**os.environ, **settings.to_environment(), "DO_NOT_TRACK": "1", "BENTOML_DO_NOT_TRACK": "True"}
    if "BENTOML_HOME" not in environment:
        home = open_memory_folder() or settings.home / ".tideline" / "bentoml" / str(settings.port)
        home.mkdir(parents=True, exist_ok=True)
        environment["BENTOML_HOME"] = str(home)
    return environment


def _read_arguments() -> Settings:
    parser = argparse.ArgumentParser(prog="serving", description=__doc__)
    parser.add_argument("--task", help="whose champion to serve (TIDELINE_TASK)")
    parser.add_argument("--host", help="address to listen on (TIDELINE_SERVING_HOST)")
    parser.add_argument("--port", help="port to listen on (TIDELINE_SERVING_PORT)")
    parser.add_argument("--bundle", type=Path, help="serve this bundle instead of the champion (TIDELINE_BUNDLE)")
    arguments = parser.parse_args()
    named = {
        "TIDELINE_TASK": arguments.task,
        "TIDELINE_SERVING_HOST": arguments.host,
        "TIDELINE_SERVING_PORT": arguments.port,
    }
    settings = Settings.from_environment({**os.environ, **{k: v for k, v in named.items() if v}})
    settings = replace(settings, parity_token=settings.parity_token or secrets.token_hex(32))
    return replace(settings, bundle=arguments.bundle.resolve()) if arguments.bundle else settings


def _check_port(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise TidelineError(
                f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); choose another with PORT="
            ) from None


if __name__ == "__main__":
    main()
