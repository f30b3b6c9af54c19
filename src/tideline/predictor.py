"""Bundle -> onnxruntime -> predictions: the only inference code of the project."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tideline.bundle import MODEL, Bundle, load_bundle
from tideline.conformal import Widths, find_members
from tideline.contracts import Column, Interval, Manifest, Task, TidelineError

if TYPE_CHECKING:
    import pandas as pd

Provider = Literal["cpu", "cuda"]
CHUNK = 256  # rows a run: what a graph holds for them stays in the cache
_PROVIDERS = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
}


@dataclass(frozen=True, slots=True)
class Band:
    """Interval of each row at one coverage level: lower and upper bound (n,), float64, in the target's unit."""

    level: float
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClassSet:
    """Set of classes of each row at one coverage level: bool (n, n_classes)."""

    level: float
    members: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Answers for n rows.

    values: float64 (n,), the predicted value, or the number of the likeliest class. probabilities: float64
    (n, n_classes), no columns for regression. intervals (regression) or sets (classification): one a level.
    """

    values: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    names: tuple[str, ...]
    intervals: tuple[Band, ...]
    sets: tuple[ClassSet, ...]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def classes(self) -> list[str]:
        """Name of the likeliest class of each row; empty for regression."""
        return [self.names[int(code)] for code in self.values] if self.names else []


class Predictor:
    """A loaded model: columns in, predictions and intervals out. Safe to call from several threads.

    `bundle` is a folder or a loaded bundle. Raises TidelineError if the bundle is broken, if the graph does not take
    the manifest's columns, or if the provider that was asked for is not the one that was given.
    """

    def __init__(self, bundle: Path | Bundle, threads: int = 1, provider: Provider = "cpu", chunk: int = CHUNK) -> None:
        loaded = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
        self.bundle: Bundle | None = loaded
        manifest = loaded.manifest
        self._open(loaded.read(MODEL), str(loaded.path / MODEL), manifest, manifest.intervals, threads, provider, chunk)

    @classmethod
    def from_graph(
        cls,
        model: Path,
        contract: Task | Manifest,
        threads: int = 1,
        provider: Provider = "cpu",
        chunk: int = CHUNK,
    ) -> Self:
        """A predictor of a bare graph that takes the contract's columns, for baselines and parity; no intervals."""
        predictor = cls.__new__(cls)
        predictor.bundle = None
        try:
            content = model.read_bytes()
        except FileNotFoundError:
            raise TidelineError(f"no graph at {model}; export it first") from None
        predictor._open(content, str(model), contract, (), threads, provider, chunk)
        return predictor

    def _open(
        self,
        model: bytes,
        place: str,
        contract: Task | Manifest,
        intervals: tuple[Interval, ...],
        threads: int,
        provider: Provider,
        chunk: int,
    ) -> None:
        self.columns, self.names, self.clip = contract.columns, contract.classes, contract.clip
        self.intervals, self.chunk, self.place = intervals, chunk, place
        self.regression = contract.problem == "regression"
        self.session = open_session(model, place, threads, provider)
        self._widths = Widths.of(intervals) if self.regression and intervals else None
        self._output = "prediction" if self.regression else "probabilities"
        self._text = tuple((c.name, c.is_text) for c in contract.columns)
        self._known = frozenset(c.name for c in contract.columns)
        _check_graph(self.session, place, contract.columns, self._output)

    def predict(self, columns: Mapping[str, NDArray[np.generic]]) -> Prediction:
        """Predict n rows from raw columns: arrays (n,) or (n, 1), float64 (NaN = missing, dates as days since
        1970-01-01) or strings ("" = missing).

        Raises TidelineError if columns lack, are unknown or differ in length, if a category is not a string, or if the
        graph answers something that is not a number.
        """
        feeds = self._feed(columns)
        n = len(next(iter(feeds.values())))
        if n <= self.chunk:
            raw = self._run(feeds) if n else np.empty((0, max(1, len(self.names))), dtype=np.float32)
        else:
            starts = range(0, n, self.chunk)
            raw = np.concatenate([self._run({k: v[i : i + self.chunk] for k, v in feeds.items()}) for i in starts])
        answers = raw.astype(np.float64)
        if not math.isfinite(answers.sum()):  # finite float32 values have a finite sum; cheaper than a look at each
            row = int(np.flatnonzero(~np.isfinite(answers).all(axis=1))[0])
            raise TidelineError(
                f"{self.place} answered {answers[row].tolist()} for row {row}; its input is out of range"
            )
        return self._finish_values(answers[:, 0]) if self.regression else self._finish_classes(answers)

    def _finish_values(self, values: NDArray[np.float64]) -> Prediction:
        bands: tuple[Band, ...] = ()
        if self._widths is not None:
            centre, width = values[:, None], self._widths.find(values)
            lower, upper = centre - width, centre + width
            if self.clip is not None:
                np.maximum(lower, self.clip[0], out=lower)
                np.minimum(upper, self.clip[1], out=upper)
            bands = tuple(Band(interval.level, lower[:, i], upper[:, i]) for i, interval in enumerate(self.intervals))
        return Prediction(values, np.empty((len(values), 0)), (), bands, ())

    def _finish_classes(self, probabilities: NDArray[np.float64]) -> Prediction:
        codes = probabilities.argmax(axis=1).astype(np.float64)
        sets = tuple(ClassSet(i.level, find_members(i, probabilities)) for i in self.intervals)
        return Prediction(codes, probabilities, self.names, (), sets)

    def _run(self, feeds: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32]:
        return self.session.run([self._output], feeds)[0]  # type: ignore[no-any-return]

    def _feed(self, columns: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        if columns.keys() != self._known:
            lacking, unknown = sorted(self._known - columns.keys()), sorted(columns.keys() - self._known)
            raise TidelineError(
                f"{self.place}: columns lacking {lacking}, unknown {unknown}; send exactly the manifest's"
            )
        feeds: dict[str, NDArray[np.generic]] = {}
        n = -1
        for name, is_text in self._text:
            values = _as_text(name, columns[name]) if is_text else np.asarray(columns[name], dtype=np.float64)
            values = values.reshape(-1, 1)
            if n not in (-1, len(values)):
                raise TidelineError(f"column {name!r} has {len(values)} rows, the ones before it have {n}")
            n = len(values)
            feeds[name] = values
        return feeds


def open_session(model: bytes, place: str, threads: int, provider: Provider) -> ort.InferenceSession:
    """An onnxruntime session; `place` names the model in errors. Raises TidelineError if the graph does not load, or
    if onnxruntime silently gave another provider than the one asked for."""
    if provider not in _PROVIDERS:
        raise TidelineError(f"unknown provider {provider!r}; expected one of {', '.join(_PROVIDERS)}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3 if provider == "cpu" else 4
    try:
        session = ort.InferenceSession(model, options, providers=_PROVIDERS[provider])
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        raise TidelineError(
            f"{place} does not load in onnxruntime {ort.__version__}: {error}; export it again"
        ) from error
    given = session.get_providers()
    if _PROVIDERS[provider][0] not in given:
        raise TidelineError(
            f"{place}: asked for {_PROVIDERS[provider][0]}, onnxruntime gave {', '.join(given)}; "
            "install the GPU driver and CUDA libraries, or set the provider to cpu"
        )
    session.disable_fallback()
    return session


def columns_from_frame(contract: Task | Manifest, frame: pd.DataFrame) -> dict[str, NDArray[np.generic]]:
    """A frame's feature columns as `Predictor.predict` takes them: float64 (NaN = missing), object strings ("" =
    missing), dates (ISO strings, datetimes or days) as days since 1970-01-01. Other columns are left out."""
    lacking = [c.name for c in contract.columns if c.name not in frame.columns]
    if lacking:
        raise TidelineError(f"the frame lacks columns {lacking}; it holds {list(map(str, frame.columns))}")
    return {column.name: _from_series(column, frame[column.name]) for column in contract.columns}


def _from_series(column: Column, series: pd.Series) -> NDArray[np.generic]:
    missing = series.isna().to_numpy()
    if column.is_text:
        text = series.astype(object).to_numpy(copy=True)
        text[missing] = ""
        return np.array([str(v) for v in text], dtype=object)
    try:
        if column.kind == "date" and series.dtype.kind not in "fiu":
            raw = series.to_numpy(dtype="datetime64[D]") if series.dtype.kind == "M" else _parse_dates(series, missing)
            days = raw.astype(np.float64)
            days[missing] = np.nan
            return days
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise TidelineError(f"column {column.name!r} should hold a {column.kind}: {error}") from error


def _parse_dates(series: pd.Series, missing: NDArray[np.bool_]) -> NDArray[np.datetime64]:
    text = ["NaT" if gone else str(v) for v, gone in zip(series, missing, strict=True)]
    return np.array(text, dtype="datetime64[D]")


def _as_text(name: str, values: NDArray[np.generic]) -> NDArray[np.object_]:
    text: NDArray[np.object_] = np.asarray(values, dtype=object)
    for row, value in enumerate(text.ravel().tolist()):
        if not isinstance(value, str):  # onnxruntime would take None or NaN without a word
            raise TidelineError(f"column {name!r}, row {row}: expected a string ('' if missing), found {value!r}")
    return text


def _check_graph(session: ort.InferenceSession, place: str, columns: tuple[Column, ...], output: str) -> None:
    wanted = {c.name: "tensor(string)" if c.is_text else "tensor(double)" for c in columns}
    found = {i.name: i.type for i in session.get_inputs()}
    if found != wanted:
        wrong = sorted({k for k, v in wanted.items() if found.get(k) != v} | (found.keys() - wanted.keys()))
        raise TidelineError(f"{place} does not take its contract's columns: {', '.join(wrong)} differ; export it again")
    if output not in {o.name for o in session.get_outputs()}:
        raise TidelineError(f"{place} has no output {output!r}; export it again")
