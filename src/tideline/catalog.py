"""Discovers the five drop-in folders; file stem = name."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache
from typing import Any

from tideline.alert import ChannelSpec
from tideline.contracts import DriftSpec, ModelSpec, Task, TidelineError, TransformSpec

_ATTRIBUTE = {"tasks": "TASK", "transforms": "SPEC", "models": "SPEC", "drift": "SPEC", "channels": "SPEC"}


@cache
def names(folder: str) -> tuple[str, ...]:
    """Names of all entries of one of the folders tasks, transforms, models, drift, channels."""
    package = importlib.import_module(f"tideline.{folder}")
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")))


def get_task(name: str) -> Task:
    """The task of that name."""
    task = _load("tasks", name)
    assert isinstance(task, Task)
    return task


def get_model(name: str) -> ModelSpec:
    """The model family of that name."""
    spec = _load("models", name)
    assert isinstance(spec, ModelSpec)
    return spec


def get_transform(name: str) -> TransformSpec:
    """The transform of that name."""
    spec = _load("transforms", name)
    assert isinstance(spec, TransformSpec)
    return spec


def get_drift(name: str) -> DriftSpec:
    """The drift statistic of that name."""
    spec = _load("drift", name)
    assert isinstance(spec, DriftSpec)
    return spec


def get_channel(name: str) -> ChannelSpec:
    """The channel of that name."""
    spec = _load("channels", name)
    assert isinstance(spec, ChannelSpec)
    return spec


def _load(folder: str, name: str) -> Any:
    known = names(folder)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
        raise TidelineError(f"no entry {name!r} in src/tideline/{folder}/; {hint}")
    module = importlib.import_module(f"tideline.{folder}.{name}")
    entry = getattr(module, _ATTRIBUTE[folder], None)
    if entry is None:
        raise TidelineError(f"src/tideline/{folder}/{name}.py defines no {_ATTRIBUTE[folder]}; see docs/")
    if entry.name != name:
        raise TidelineError(f"src/tideline/{folder}/{name}.py calls itself {entry.name!r}; name and file must agree")
    return entry
