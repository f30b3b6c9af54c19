"""Small real services under the supervisor: `python -m tests.platform.small_services FOLDER PORT...`.

Each listens on its port and starts a process of its own in a new session that ignores SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from pipelines.platform.lock import hold_platform
from pipelines.platform.services import Probe, Service, ask_http
from pipelines.platform.supervisor import Supervisor

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
LISTEN = f"""
import http.server, subprocess, sys, signal, os
subprocess.Popen([sys.executable, "-c", {STUBBORN!r}], start_new_session=True)
signal.signal(signal.SIGTERM, lambda *_: (print("asked to end", flush=True), os._exit(0)))
print("listens", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def make_service(name: str, port: int, needs: tuple[str, ...] = ()) -> Service:
    """One that answers on a port."""
    probe: Probe = ask_http(port, "/")
    url = f"http://127.0.0.1:{port}"
    command = (sys.executable, "-c", LISTEN, str(port))
    return Service(name, name.title(), command, probe, url, port, needs=needs, grace=5.0)


def main() -> None:
    """Run until SIGTERM."""
    root, ports = Path(sys.argv[1]), [int(text) for text in sys.argv[2:]]
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with hold_platform(root, "http://127.0.0.1:1") as lock:
        services = [make_service(f"s{i}", port, needs=("s0",) if i else ()) for i, port in enumerate(ports)]
        supervisor = Supervisor(services, root, lock, lambda text: print(text, flush=True))
        supervisor.start()
        while not supervisor.is_ready and not stopping.wait(0.05):
            pass
        print("all ready", os.getpid(), flush=True)
        stopping.wait()
        supervisor.stop()


if __name__ == "__main__":
    main()
