"""Which ports the platform wants, and who holds one that is taken."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import psutil

from tideline.contracts import TidelineError

HOST = "127.0.0.1"


def check_ports(ports: Mapping[str, int]) -> None:
    """Raises TidelineError that names every taken port, its holder and the way out."""
    taken = {name: port for name, port in ports.items() if not _is_free(port)}
    if not taken:
        return
    lines = [f"{HOST}:{port}, wanted for {name}, is held by {find_holder(port)}" for name, port in taken.items()]
    name, port = next(iter(taken.items()))
    other = f"`make up ARGS='--port {name}={_suggest(port, ports)}'`"
    raise TidelineError("\n  ".join([*lines, f"end what holds it, or choose another port: {other}"]))


def find_holder(port: int) -> str:
    """The process that listens on a port, in words."""
    found = _list_listeners(port)
    return _describe(found[0]) if found else "a process of another user"


def find_stranger(port: int, parent: int) -> str:
    """A process that listens on a port and does not come of process `parent`, in words; empty if there is none, or if
    the system does not tell."""
    try:
        process = psutil.Process(parent)
        own = {parent, *(child.pid for child in process.children(recursive=True))}
    except psutil.NoSuchProcess:
        own = {parent}
    return next((_describe(pid) for pid in _list_listeners(port) if pid not in own), "")


def _list_listeners(port: int) -> list[int | None]:
    """Processes that listen on a port; None is one of another user."""
    try:
        found = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # macOS shows only root who listens
        return []
    return [c.pid for c in found if c.status == psutil.CONN_LISTEN and c.laddr.port == port]


def _describe(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    try:
        process = psutil.Process(pid)
        return f"process {pid}: {' '.join(process.cmdline())[:160] or process.name()}"
    except psutil.Error:
        return f"process {pid}"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _suggest(port: int, ports: Mapping[str, int]) -> int:
    """The next free one that no service wants."""
    wanted = set(ports.values())
    return next(p for p in range(port + 1, 65_536) if p not in wanted and _is_free(p))
