"""Does the graph answer as the framework does? On rows of the task, and on rows at the edges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tideline.contracts import Problem, Task, TidelineError
from tideline.params import Export

if TYPE_CHECKING:
    import onnx
    import pandas as pd

CHUNK = 512  # rows given to the graph at a time
THRESHOLDS = 400  # tree thresholds whose neighbourhoods are tried
WORST = 5
UNKNOWN = "__never seen__"
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class Comparison:
    """Answers of both sides for the same rows, (n,) or (n, n_classes), and the rows' names."""

    names: list[str]
    framework: np.ndarray
    graph: np.ndarray


def open_session(model: onnx.ModelProto, provider: str, threads: int) -> Any:
    """A session on the provider that was asked for.

    Raises TidelineError if another one was given: the list of available providers promises more than it holds.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4 if provider == "cuda" else 3
    wanted = PROVIDERS[provider]
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[wanted])
    if session.get_providers()[0] != wanted:
        raise TidelineError(
            f"export.provider is {provider}, and onnxruntime gave {', '.join(session.get_providers())}; "
            "set export.provider: cpu in params.yaml, or run where a GPU and its libraries are"
        )
    return session


def run_chunks(session: Any, feed: dict[str, np.ndarray], problem: Problem) -> np.ndarray:
    """The graph's answers as float64: (n,) or (n, n_classes)."""
    n = len(next(iter(feed.values())))
    parts = [
        session.run(None, {name: values[start : start + CHUNK] for name, values in feed.items()})[0]
        for start in range(0, n, CHUNK)
    ]
    out = np.concatenate(parts).astype(np.float64)
    return out[:, 0] if problem == "regression" else out


def make_edge_rows(task: Task, frame: pd.DataFrame) -> tuple[list[str], pd.DataFrame]:
    """Raw rows at the edges, each with a name: missing values, an unknown category, extremes of every column.

    All start from the training row that lies in the middle of the target's order.
    """
    import pandas as pd

    start = frame.sort_values(task.target.name, kind="stable").iloc[[len(frame) // 2]]
    names, rows = [], []

    def add(name: str, changes: dict[str, Any]) -> None:
        row = start.copy()
        for column, value in changes.items():
            row[column] = value
        names.append(name)
        rows.append(row)

    smallest, largest = {}, {}
    for column in task.columns:
        if column.is_text:
            add(f"{column.name} unknown", {column.name: UNKNOWN})
            for category in column.categories:
                add(f"{column.name} {category}", {column.name: category})
        else:
            seen = frame[column.name]
            smallest[column.name] = float(seen.min() if column.minimum is None else min(seen.min(), column.minimum))
            largest[column.name] = float(seen.max() if column.maximum is None else max(seen.max(), column.maximum))
            add(f"{column.name} least", {column.name: smallest[column.name]})
            add(f"{column.name} most", {column.name: largest[column.name]})
        if column.nullable:
            add(f"{column.name} missing", {column.name: None if column.is_text else np.nan})
    add("all least", smallest)
    add("all most", largest)
    nullable = {c.name: None if c.is_text else np.nan for c in task.columns if c.nullable}
    if nullable:
        add("all nullable missing", nullable)
    kinds = {name: kind for name, kind in frame.dtypes.items() if kind.kind not in "iub"}
    return names, pd.concat(rows, ignore_index=True).astype(kinds)


def make_threshold_rows(net: onnx.ModelProto, X: np.ndarray, seed: int) -> tuple[list[str], np.ndarray]:
    """Rows of X (n, F) moved to drawn tree thresholds of the net, and to the float32 values on both sides."""
    found = [pair for node in net.graph.node if node.op_type == "TreeEnsembleRegressor" for pair in _read_splits(node)]
    if not found:
        return [], X[:0]
    features, thresholds = (np.concatenate(parts) for parts in zip(*found, strict=True))
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(features))[:THRESHOLDS]
    names, rows = [], []
    for number in chosen:
        feature, t = int(features[number]), np.float32(thresholds[number])
        base = X[rng.integers(len(X))]
        for word, value in (
            ("at", t),
            ("above", np.nextafter(t, np.float32(np.inf))),
            ("below", np.nextafter(t, np.float32(-np.inf))),
        ):
            row = base.copy()
            row[feature] = value
            names.append(f"feature {feature} {word} threshold {t:.7g}")
            rows.append(row)
    return names, np.stack(rows).astype(np.float32)


def _read_splits(node: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    values = {a.name: a for a in node.attribute}
    branch = np.array([mode != b"LEAF" for mode in values["nodes_modes"].strings])
    yield (
        np.array(values["nodes_featureids"].ints, np.int64)[branch],
        np.array(values["nodes_values"].floats, np.float32)[branch],
    )


def judge(parts: list[Comparison], problem: Problem, limits: Export) -> dict[str, Any]:
    """The verdict over all comparisons as a JSON-ready record with the worst rows named.

    Regression: |framework - graph| <= relative * max(|framework|, floor). Classification: probabilities
    within `probability`, and no row changes its class. A value that is not finite on one side fails.
    """
    names = [name for part in parts for name in part.names]
    framework = np.concatenate([part.framework for part in parts])
    graph = np.concatenate([part.graph for part in parts])
    difference = np.abs(framework - graph)
    if problem == "regression":
        relative = difference / np.maximum(np.abs(framework), limits.floor)
        strain = relative / limits.relative
        changed = np.zeros(len(names), bool)
    else:
        relative = difference = difference.max(axis=1)
        strain = difference / limits.probability
        changed = framework.argmax(axis=1) != graph.argmax(axis=1)
    strain = np.where(np.isfinite(strain), strain, np.inf)
    failed = (strain > 1.0) | changed
    order = np.lexsort((-strain, ~changed))[:WORST]
    return {
        "passed": not bool(failed.any()),
        "max_rel": _finite(relative),
        "max_abs": _finite(difference),
        "failed_rows": int(failed.sum()),
        "changed_classes": int(changed.sum()),
        "worst": [
            {"row": names[i], "framework": framework[i].tolist(), "onnx": graph[i].tolist(), "failed": bool(failed[i])}
            for i in order
        ],
        "floor": limits.floor,
        "relative": limits.relative if problem == "regression" else limits.probability,
    }


def _finite(values: np.ndarray) -> float | None:
    largest = float(values.max())
    return largest if np.isfinite(largest) else None
