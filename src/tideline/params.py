"""The only reader of params.yaml: frozen, and an unknown key is an error that says which key was meant."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any, Literal, get_type_hints

import yaml

from tideline.contracts import TidelineError


@dataclass(frozen=True)
class Simulator:
    rows: int
    scenario: str


@dataclass(frozen=True)
class CrossValidation:
    folds: int


@dataclass(frozen=True)
class Budget:
    trials: int
    seconds: float


@dataclass(frozen=True)
class Blend:
    candidates: tuple[str, ...]
    members: int


@dataclass(frozen=True)
class Export:
    provider: Literal["cpu", "cuda"]
    relative: float
    floor: float
    probability: float


@dataclass(frozen=True)
class Evaluation:
    bootstrap: int
    levels: tuple[float, ...]


@dataclass(frozen=True)
class Gate:
    confidence: float
    slice_margin: float
    latency_us: float


@dataclass(frozen=True)
class Rollout:
    share: float
    error: float
    latency: float
    failures: float
    confidence: float
    least: int


@dataclass(frozen=True)
class Monitoring:
    tests: tuple[str, ...]
    rows: int
    least: int
    alpha: float
    persist: int
    error: float
    coverage: float
    labels: int
    stale_hours: float
    skew_rows: int


@dataclass(frozen=True)
class AlertRule:
    statuses: tuple[Literal["watch", "alarm", "undecided"], ...]
    concerns: tuple[Literal["quality", "drift", "error", "retraining"], ...]
    subjects: tuple[str, ...]
    repeat_hours: float
    channels: tuple[str, ...]


@dataclass(frozen=True)
class Alerts:
    attempts: int
    wait_seconds: float
    timeout_seconds: float
    rules: Mapping[str, AlertRule]


@dataclass(frozen=True)
class DriftReport:
    rows: int
    keep: int
    days: int


@dataclass(frozen=True)
class SplitOverrides:
    cuts: Mapping[str, str]
    ends: Mapping[str, str]


@dataclass(frozen=True)
class HistoryChoice:
    windows: tuple[float, ...]
    half_lives: tuple[float, ...]
    blocks: int
    block_days: float
    model: str


@dataclass(frozen=True)
class Retraining:
    labels: int
    cooldown_hours: float
    budget: int
    every_days: float
    fresh: float
    fresh_days: float
    fresh_rows: int
    confidence: float
    old_margin: float | None
    canary: float
    history: HistoryChoice


@dataclass(frozen=True)
class Schedules:
    training: str
    monitoring: str
    retraining: str
    backfill: str


@dataclass(frozen=True)
class Flows:
    workers: int
    retries: int
    retry_delay: float
    stage_timeout: float
    run_timeout: float
    backfill_days: int
    backfill_hours: float
    schedules: Schedules


@dataclass(frozen=True)
class Params:
    tasks: tuple[str, ...]
    source: Literal["auto", "folder", "external", "download", "simulator"]
    seed: int
    threads: int
    device: Literal["auto", "cpu", "cuda"]
    compute: Literal["local", "dask"]
    workers: int
    processes: int
    models: tuple[str, ...]
    simulator: Simulator
    cv: CrossValidation
    tuning: Mapping[str, Budget]
    preparation: Budget
    blend: Blend
    export: Export
    evaluation: Evaluation
    gate: Gate
    rollout: Rollout
    monitoring: Monitoring
    alerts: Alerts
    drift_report: DriftReport
    split: SplitOverrides
    retraining: Retraining
    flows: Flows


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check the knob board.

    Raises TidelineError that names the key, what it holds and what was expected.
    """
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise TidelineError(f"no {path} in {Path.cwd()}; run tideline from the project's root") from None
    except yaml.YAMLError as error:
        raise TidelineError(f"{path} is not valid YAML: {error}") from None
    return _record(Params, raw, str(path))  # type: ignore[no-any-return]


def _record(kind: Any, raw: Any, place: str) -> Any:
    if not isinstance(raw, dict):
        raise TidelineError(f"{place}: expected a mapping, found {raw!r}")
    hints = get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    for key in raw:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
            raise TidelineError(f"{place}: unknown key {key!r}; {hint}")
    missing = [k for k in known if k not in raw]
    if missing:
        raise TidelineError(f"{place}: missing key {missing[0]!r}")
    return kind(**{key: _value(hints[key], raw[key], f"{place}: {key}") for key in known})


def _value(kind: Any, raw: Any, place: str) -> Any:
    origin = getattr(kind, "__origin__", None)
    args: tuple[Any, ...] = getattr(kind, "__args__", ())
    if isinstance(kind, UnionType):  # T | None
        return None if raw is None else _value(args[0], raw, place)
    if is_dataclass(kind):
        return _record(kind, raw, place)
    if origin is Literal:
        if raw not in args:
            raise TidelineError(f"{place} is {raw!r}; expected one of {', '.join(map(str, args))}")
        return raw
    if origin is tuple:
        if not isinstance(raw, list):
            raise TidelineError(f"{place} is {raw!r}; expected a list")
        return tuple(_value(args[0], item, f"{place}[{i}]") for i, item in enumerate(raw))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(raw, dict):
            raise TidelineError(f"{place} is {raw!r}; expected a mapping")
        return MappingProxyType({k: _value(args[1], v, f"{place}.{k}") for k, v in raw.items()})
    if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    if not isinstance(raw, kind) or isinstance(raw, bool) is not (kind is bool):
        raise TidelineError(f"{place} is {raw!r}; expected {kind.__name__}")
    return raw
