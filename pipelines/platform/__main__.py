"""Start everything on this machine: `python -m pipelines.platform` (what `make up` does). Ctrl-C stops all of it.

Without --task it serves each task of params.yaml that has a champion. `--down` stops the platform that runs.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from pipelines.platform.lock import FOLDER, hold_platform, stop_platform
from pipelines.platform.page import PageServer
from pipelines.platform.ports import HOST, check_ports
from pipelines.platform.services import choose_ports, list_services
from pipelines.platform.supervisor import Supervisor
from tideline import catalog
from tideline.contracts import TidelineError
from tideline.layout import Layout
from tideline.params import load_params
from tideline.pointer import read_pointer
from tideline.progress import say


def main() -> int:
    """Run until told to stop; errors for a person end as one message."""
    arguments = _parse()
    try:
        if arguments.down:
            say(stop_platform(Path.cwd()))
        else:
            run_platform(Path.cwd(), arguments.task, dict(arguments.port))
    except TidelineError as error:
        print(f"platform: {error}", file=sys.stderr)
        return 1
    return 0


def run_platform(root: Path, named: Sequence[str], chosen: dict[str, int]) -> None:
    """Start all services and look after them until SIGINT or SIGTERM.

    Raises TidelineError if a platform runs already, a port is taken or unknown, or a named task has no champion.
    """
    tasks = choose_tasks(root, named)
    ports = choose_ports(tasks, chosen)
    if unknown := sorted(set(chosen) - set(ports)):
        raise TidelineError(f"no service {unknown[0]!r} to give a port; there are: {', '.join(ports)}")
    address = f"http://{HOST}:{ports['page']}"
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    with hold_platform(root, address) as lock:
        check_ports(ports)
        (root / "reports" / "evidently").mkdir(parents=True, exist_ok=True)
        supervisor = Supervisor(list_services(root, tasks, ports, named), root, lock, say)
        with PageServer(ports["page"], root, list(tasks), supervisor):
            say(f"page               {address}   logs in {root / FOLDER}")
            supervisor.start()
            try:
                _say_when_ready(supervisor, stopping, address)
                stopping.wait()
                say("stopping           (what runs is finished first)")
            finally:  # the terminal may be gone
                supervisor.stop()
    say("stopped            nothing of it runs any more")


def choose_tasks(root: Path, named: Sequence[str]) -> tuple[str, ...]:
    """The tasks to serve: those named, or all of params.yaml that have a champion.

    Raises TidelineError for a named task that is unknown or has none.
    """
    if named:
        for task in named:
            if read_pointer(Layout(catalog.get_task(task).name, root)) is None:
                raise TidelineError(f"{task} has no champion to serve; build and promote one: make run TASK={task}")
        return tuple(dict.fromkeys(named))
    listed = load_params(root / "params.yaml").tasks
    ready = tuple(task for task in listed if read_pointer(Layout(task, root)) is not None)
    for task in listed:
        if task not in ready:
            say(f"{f'serving-{task}':<18} not started: {task} has no champion; make run TASK={task}")
    return ready


def _say_when_ready(supervisor: Supervisor, stopping: threading.Event, address: str) -> None:
    while not supervisor.is_ready and not stopping.wait(0.1):
        pass
    if supervisor.is_ready:
        say(f"platform           all {len(supervisor.keepers)} services are ready: {address}   (`make down` or Ctrl-C)")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="platform", description=__doc__)
    parser.add_argument("--task", action="append", default=[], help="serve this task; may be given several times")
    parser.add_argument(
        "--port", action="append", default=[], type=_port, metavar="NAME=NUMBER",
        help="another port for page, prefect, evidently or serving-TASK; may be given several times",
    )  # fmt: skip
    parser.add_argument("--down", action="store_true", help="stop the platform that runs in this project")
    return parser.parse_args()


def _port(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or not number.isdigit() or not 0 < int(number) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=NUMBER, e.g. prefect=4300")
    return name, int(number)


if __name__ == "__main__":
    sys.exit(main())
