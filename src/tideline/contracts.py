"""Frozen records that cross a file boundary. Imports no framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    import distributed
    import onnx
    import pandas as pd

    from tideline.binned import Binned, Measured

Problem = Literal["regression", "classification"]
Kind = Literal["number", "integer", "category", "date"]
Severity = Literal["error", "warning"]
SplitKind = Literal["stratified", "hash", "time", "group"]
Rule = Literal["type", "range", "categories", "unique", "missing", "rows"]


class TidelineError(Exception):
    """An error meant for a person: names the place, the reason and the way out."""


@dataclass(frozen=True)
class Column:
    """One raw column: what it may hold, in which unit, and how bad a breach is.

    `missing` is the largest allowed share of missing values; above zero the column is nullable
    when served. A `date` is an ISO string (YYYY-MM-DD) outside and days since 1970-01-01 inside
    the graph. `severity` overrides the default ("error") for single rules.
    """

    name: str
    kind: Kind
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] = ()
    missing: float = 0.0
    unique: bool = False
    unit: str = ""
    description: str = ""
    severity: Mapping[str, Severity] = field(default_factory=dict)

    @property
    def is_text(self) -> bool:
        """True if the ONNX graph takes this column as strings (all others enter as float64)."""
        return self.kind == "category"

    @property
    def nullable(self) -> bool:
        """True if a served row may leave this column out or send null."""
        return self.missing > 0


@dataclass(frozen=True)
class Source:
    """Where a dataset comes from: a file (with checksum and public addresses) or a loader in an installed package.

    `read` turns the file into a frame with the task's columns (and leaked ones, which are dropped).
    `member` is the path inside the archive that the address serves; `sha256` maps a digest of the
    plain (unpacked) file to the reader's note about it: any listed digest is accepted.
    """

    filename: str = ""
    urls: tuple[str, ...] = ()
    member: str = ""
    sha256: tuple[str, ...] = ()
    read: Callable[[Path], pd.DataFrame] | None = None
    load: Callable[[], pd.DataFrame] | None = None
    simulate: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Split:
    """How rows are parted into training and test rows.

    stratified: `by` is a column, cut at `bins` if given. hash: `by` names the identifier columns.
    time: rows with `by` >= `cut` are test. group: all rows of one value of `by` go to one side.
    """

    kind: SplitKind
    by: tuple[str, ...]
    bins: tuple[float, ...] = ()
    test_size: float = 0.2
    cut: str = ""
    seed: int = 42


@dataclass(frozen=True)
class Step:
    """One transform by catalogue name, with its parameters."""

    transform: str
    params: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Block:
    """Columns that go through steps, one after the other, into the feature matrix."""

    name: str
    columns: tuple[str, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Slice:
    """Parts of the test rows that are scored by themselves: one per category of `by`, or per bin of it."""

    name: str
    by: str
    bins: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """A dataset and what is to be learnt from it: source, schema, target, split, features, slices."""

    name: str
    title: str
    problem: Problem
    source: Source
    columns: tuple[Column, ...]
    target: Column
    split: Split
    features: tuple[Block, ...]
    classes: tuple[str, ...] = ()
    extra: tuple[Column, ...] = ()  # kept for split, slices and identity; never a feature
    dropped: Mapping[str, str] = field(default_factory=dict)  # column -> why it may not be a feature
    slices: tuple[Slice, ...] = ()
    rows: tuple[int, int] = (1, 2**62)
    clip: tuple[float, float] | None = None  # predictions are held inside, in the graph itself
    map: tuple[str, str] | None = None  # (longitude, latitude) columns, for the report

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the raw columns that a served row carries, in graph order."""
        return tuple(c.name for c in self.columns)


@dataclass(frozen=True)
class BuildContext:
    """What a family may need to know to build an estimator.

    `cluster` is a client of the Dask cluster for families that spread over one; `rank` of `ranks` processes (torchrun)
    makes the same fit.
    """

    problem: Problem
    n_classes: int = 0
    seed: int = 42
    threads: int = 2
    device: str = "auto"
    time_ordered: bool = False
    clip: tuple[float, float] | None = None
    epoch_callback: Callable[[int, float], None] | None = None
    cluster: distributed.Client | None = None
    rank: int = 0
    ranks: int = 1


@dataclass(frozen=True)
class ModelSpec:
    """One model family: how to build it, its defaults and search space as data, and its ONNX form.

    `defaults` and `space` are keyed by problem. A space maps a parameter to
    {"low", "high", "log"?, "step"?} or {"choices": [...]}. `to_onnx(estimator, n_features, context)`
    returns a graph with input X float32 [n, n_features] and output `prediction` float32 [n, 1]
    (regression) or `probabilities` float32 [n, n_classes] (classification). `spreads`: over what one fit may spread.
    """

    name: str
    family: str
    build: Callable[[Mapping[str, Any], BuildContext], Any]
    to_onnx: Callable[[Any, int, BuildContext], onnx.ModelProto]
    defaults: Mapping[str, Mapping[str, Any]]
    space: Mapping[str, Mapping[str, Mapping[str, Any]]]
    spreads: Literal["", "dask", "torchrun"] = ""
    description: str = ""


@dataclass(frozen=True)
class TransformSpec:
    """One transform: builds a scikit-learn transformer whose ONNX converter the same file registers."""

    name: str
    build: Callable[[Mapping[str, Any]], Any]
    register: Callable[[], None]
    uses_target: bool = False
    example: Callable[[], tuple[Any, Any]] | None = None  # (X, y) for the contract test
    description: str = ""


@dataclass(frozen=True)
class DriftSpec:
    """One drift test: compares a window's binned counts with the reference's, whatever size either has.

    `compute(reference, window)` gives statistic, p-value and effect. Drift is an effect of at least `threshold` that
    chance does not explain; direction "up": only growth is drift. `needs` names keys of a column's sketch without which
    the test cannot be computed. concern "quality": a fault of the data, an alarm at once; "drift": a change that
    may be a passing mix of requests, an alarm once it persists.
    """

    name: str
    compute: Callable[[Binned, Binned], Measured]
    kinds: tuple[Kind, ...]
    threshold: float
    concern: Literal["quality", "drift"]
    direction: Literal["both", "up"] = "both"
    needs: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class Interval:
    """Conformal half-widths for one coverage level.

    Regression: `edges` are inner bin edges of the prediction, `widths` one half-width a bin
    (len(edges) + 1). Classification: `widths` holds one number, the largest 1 - p of a member of the set.
    """

    level: float
    edges: tuple[float, ...]
    widths: tuple[float, ...]


@dataclass(frozen=True)
class Manifest:
    """The contract that travels with a model: all that a server, a gate or a monitor must know."""

    task: str
    title: str
    problem: Problem
    model: str
    created: str
    columns: tuple[Column, ...]
    target: Column
    classes: tuple[str, ...]
    clip: tuple[float, float] | None
    provenance: Mapping[str, Any]  # source, simulated, rows, sha256
    hashes: Mapping[str, str]  # data, split, code, params
    versions: Mapping[str, str]
    intervals: tuple[Interval, ...]
    parity: Mapping[str, Any]
    metrics: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)  # file name -> sha256
    device: str = "cpu"
    format: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Rebuild from `to_dict`; an unknown or missing key is an error that names it."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(raw) - known)
        if unknown:
            raise TidelineError(f"manifest: unknown keys {unknown}; a newer tideline wrote it; upgrade")
        values = dict(raw)
        try:
            values["columns"] = tuple(_column(c) for c in raw["columns"])
            values["target"] = _column(raw["target"])
            values["classes"] = tuple(raw["classes"])
            values["clip"] = None if raw["clip"] is None else tuple(raw["clip"])
            values["intervals"] = tuple(
                Interval(i["level"], tuple(i["edges"]), tuple(i["widths"])) for i in raw["intervals"]
            )
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise TidelineError(f"manifest: malformed ({error}); build the bundle again") from error


def _column(raw: Mapping[str, Any]) -> Column:
    return Column(**{**raw, "categories": tuple(raw.get("categories", ()))})
