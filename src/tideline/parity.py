"""Does the graph answer as the framework does? Also next to the thresholds of its trees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tideline.contracts import Problem, TidelineError
from tideline.params import Export

if TYPE_CHECKING:
    import onnx

CHUNK = 512  # rows given to the graph at a time
THRESHOLDS = 400  # tree thresholds whose neighbourhoods are tried
WORST = 5
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
