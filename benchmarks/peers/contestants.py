"""Who takes part: how each is started, what it is asked, and what it does for a request."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SERVERS = HERE / "servers"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Start:
    """A command, the folder it starts in, and what it needs in its environment."""

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Contestant:
    """One line of the table.

    pins: the file of its packages; empty: this project's own environment. start: from its Python, port, a scratch
    folder and the bundle. server: contestants that name the same one are measured on one process. The rest says what it
    does for a request: checks ranges and categories, gives intervals, ids, logs durably before it answers, batches.
    """

    name: str
    pins: str
    server: str
    start: Callable[[str, int, Path, Path], Start]
    path: str
    encode: Callable[[Row], Any]
    read: Callable[[Any], float]
    checks: str = "ranges"
    intervals: bool = False
    ids: bool = False
    log: bool = False
    batches: bool = False


def _start_fastapi(python: str, port: int, folder: Path, bundle: Path) -> Start:
    command = [python, "-m", "uvicorn", "serve_fastapi:app", "--port", str(port), "--no-access-log"]
    return Start([*command, "--log-level", "warning"], SERVERS, {"BENCH_BUNDLE": str(bundle)})


def _start_mlserver(python: str, port: int, folder: Path, bundle: Path) -> Start:
    """In the server's own process: with a worker process beside it, each request is pickled there and back."""
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
    (folder / "settings.json").write_text(json.dumps({**settings, "parallel_workers": 0, "debug": False}))
    model = {"name": "housing", "implementation": "mlserver_runtime.OnnxRuntime"}
    (folder / "model-settings.json").write_text(json.dumps(model))
    environment = {"BENCH_BUNDLE": str(bundle), "PYTHONPATH": str(SERVERS)}
    return Start([str(Path(python).parent / "mlserver"), "start", str(folder)], folder, environment)


def _start_litserve(python: str, port: int, folder: Path, bundle: Path) -> Start:
    return Start([python, "serve_litserve.py", str(port)], SERVERS, {"BENCH_BUNDLE": str(bundle)})


def _start_bentoml(python: str, port: int, folder: Path, bundle: Path) -> Start:
    command = [python, "-m", "bentoml", "serve", "serve_bentoml:Housing", "--port", str(port), "--host", "127.0.0.1"]
    environment = {"BENCH_BUNDLE": str(bundle), "BENTOML_HOME": str(folder)}
    return Start([*command, "--working-dir", str(SERVERS)], SERVERS, environment)


def _settings(folder: Path, bundle: Path) -> dict[str, str]:
    store = f"sqlite:///{folder}/predictions.db"
    return {"TIDELINE_BUNDLE": str(bundle), "TIDELINE_HOME": str(folder), "TIDELINE_STORE_URL": store}


def _start_bare(python: str, port: int, folder: Path, bundle: Path) -> Start:
    app = "benchmarks.peers.servers.serve_bare:app"
    command = [python, "-m", "uvicorn", app, "--port", str(port), "--no-access-log", "--log-level", "warning"]
    metrics = folder / "metrics"
    metrics.mkdir()  # shared between processes, as BentoML has them
    return Start(command, ROOT, {**_settings(folder, bundle), "PROMETHEUS_MULTIPROC_DIR": str(metrics)})


def _start_ours(python: str, port: int, folder: Path, bundle: Path) -> Start:
    return Start([python, "-m", "serving", "--port", str(port)], ROOT, _settings(folder, bundle))


def _as_rows(row: Row) -> Any:
    return {"rows": [row]}


def _as_tensors(row: Row) -> Any:
    kinds = {name: "BYTES" if isinstance(value, str) else "FP64" for name, value in row.items()}
    tensors = [{"name": n, "shape": [1, 1], "datatype": kinds[n], "data": [value]} for n, value in row.items()]
    return {"inputs": tensors}


def _first(answer: Any) -> float:
    return float(answer["predictions"][0])


_ALL = True, True, True, True
OURS = "tideline (BentoML)"
CONTESTANTS = (
    Contestant(OURS, "", "ours", _start_ours, "/predict", _as_rows, _first, "ranges", *_ALL),
    Contestant("tideline (uvicorn alone)", "", "bare", _start_bare, "/predict", _as_rows, _first, "ranges", *_ALL),
    Contestant("FastAPI, async def", "fastapi.txt", "fastapi", _start_fastapi, "/predict", _as_rows, _first),
    Contestant("FastAPI, def", "fastapi.txt", "fastapi", _start_fastapi, "/predict-in-thread", _as_rows, _first),
    Contestant(
        "MLServer", "mlserver.txt", "mlserver", _start_mlserver, "/v2/models/housing/infer", _as_tensors,
        lambda answer: float(answer["outputs"][0]["data"][0]), "types",
    ),
    Contestant("LitServe", "litserve.txt", "litserve", _start_litserve, "/predict", _as_rows, _first),
    Contestant("BentoML, plain API", "bentoml.txt", "bentoml", _start_bentoml, "/predict", _as_rows, _first),
)  # fmt: skip
