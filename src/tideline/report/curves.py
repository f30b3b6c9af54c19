"""Lines and bands: the header's waves, the ladder of models, learning curves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from markupsafe import Markup

from tideline.report.evidence import Contender, Evidence
from tideline.report.numbers import write_number, write_share, write_tick
from tideline.report.svg import Axis, Canvas

_POINTS = 160


def draw_waves(evidence: Evidence) -> Markup:
    """The page's emblem, drawn from the data: how actual and predicted values are distributed."""
    if evidence.task.problem == "regression":
        low, high = np.quantile(evidence.actual, [0, 1])
        grid = np.linspace(low, high, _POINTS)
        waves = [_density(values, grid) for values in (evidence.actual, evidence.prediction.values)]
    else:
        n = len(evidence.task.classes)
        grid = np.linspace(-0.5, n - 0.5, _POINTS)
        said = evidence.prediction.probabilities.argmax(axis=1)
        waves = [_density(codes.astype(float), grid, 0.42) for codes in (evidence.actual, said)]
    top = max(float(w.max()) for w in waves) or 1.0
    canvas = Canvas(1440, 150, "Waves: the distribution of actual and of predicted values")
    x = np.linspace(0, 1440, _POINTS)
    looks = (("var(--wave-1)", 1.0, 0.0), ("var(--wave-2)", 0.85, 10.0))
    for wave, (fill, opacity, lift) in zip(waves, looks, strict=True):
        y = 142 + lift - wave / top * 118
        points = "".join(f"L{a:.0f} {b:.1f}" for a, b in zip(x, y, strict=True))
        canvas.path(f"M0 150{points}L1440 150z", fill=fill, opacity=opacity)
    return Markup(str(canvas.render()).replace("<svg ", '<svg preserveAspectRatio="none" ', 1))


def draw_ladder(evidence: Evidence) -> Markup:
    """From guessing to here: baselines and the winner with its interval, on the test rows."""
    key = "rmse" if evidence.task.problem == "regression" else "accuracy"
    scores: dict[str, float] = {name: values[key] for name, values in evidence.metrics["baseline"].items()}
    own, (low, high) = evidence.metrics["test"][key], evidence.metrics["test"][f"{key}_ci95"]
    canvas = Canvas(1048, 96, f"Test {key} of the baselines and of {evidence.winner}")
    top = max([*scores.values(), high]) * 1.04 if key == "rmse" else 1.0
    axis = Axis(0, top, 12, 1036)
    canvas.line(12, 52, 1036, 52, "var(--edge)", 2)
    for value in axis.ticks(8):
        canvas.line(axis(value), 52, axis(value), 58, "var(--edge)")
        canvas.text(axis(value), 76, write_tick(value), "middle", "tick")
    for name, value in scores.items():
        canvas.circle(axis(value), 52, 6, "var(--card)", "var(--muted)", f"{name}: {write_number(value)}")
        canvas.text(axis(value), 38, f"{name}  {_label(key, value)}", _anchor(axis, value, own), "tick")
    canvas.line(axis(low), 52, axis(high), 52, "var(--accent)", 8)
    canvas.circle(axis(own), 52, 8, "var(--accent)", "var(--card)", f"{evidence.winner}: {write_number(own)}")
    canvas.line(axis(own), 24, axis(own), 44, "var(--accent)", 1.5)
    canvas.text(axis(own), 16, f"{evidence.winner}  {_label(key, own)}", _anchor(axis, own), "strong")
    canvas.text(1036, 94, f"{key.upper() if key == 'rmse' else key} on the test rows", "end", "name")
    return canvas.render()


def draw_learning(contender: Contender, curve: Mapping[str, tuple[float, ...]]) -> Markup:
    """Loss by round or epoch, on the part trained on and on the part held back."""
    canvas = Canvas(320, 196, f"Learning curve of {contender.name}")
    longest = max(len(values) for values in curve.values())
    everything = np.concatenate([np.asarray(values) for values in curve.values()])
    finite = everything[np.isfinite(everything)]
    ceiling = float(np.quantile(finite, 0.97))
    low, high = float(finite.min()), max(ceiling, float(finite.min()) + 1e-12)
    x, y = Axis(1, max(2, longest), 46, 310), Axis(low - (high - low) * 0.06, high + (high - low) * 0.06, 164, 14)
    for value in y.ticks(4):
        canvas.line(46, y(value), 310, y(value), "var(--grid)")
        canvas.text(40, y(value) + 4, write_tick(value), "end", "tick")
    for value in x.ticks(4):
        canvas.text(x(value), 182, write_tick(value), "middle", "tick")
    canvas.line(46, 164, 310, 164, "var(--edge)")
    for name, colour in (("train", "var(--muted)"), ("validation", "var(--accent)")):
        values = np.asarray(curve.get(name, ()), dtype=float)
        if len(values):
            steps = np.unique(np.linspace(0, len(values) - 1, 160).astype(int))
            canvas.polyline(x.map(steps + 1.0), np.clip(y.map(values[steps]), 4, 164), colour, 1.8)
    if "validation" in curve and np.isfinite(curve["validation"]).any():
        best = int(np.nanargmin(curve["validation"]))
        value = curve["validation"][best]
        tip = f"best: {write_number(value)} at {best + 1}"
        canvas.circle(x(best + 1), y(value), 4, "var(--accent)", "var(--card)", tip)
    return canvas.render()


def _density(values: np.ndarray, grid: np.ndarray, width: float = 0.0) -> np.ndarray:
    """Gaussian kernel density from a histogram; `width` in the unit of the values."""
    step = grid[1] - grid[0]
    edges = np.concatenate([grid - step / 2, [grid[-1] + step / 2]])
    counts = np.histogram(values, bins=edges)[0].astype(float)
    sigma = max(width or 3.5 * step, step)
    kernel = np.exp(-0.5 * np.square(np.arange(-40, 41) * step / sigma))
    return np.convolve(np.pad(counts, 40, mode="reflect"), kernel / kernel.sum(), mode="same")[40:-40]


def _label(key: str, value: float) -> str:
    return write_share(value) if key == "accuracy" else write_number(value, 4)


def _anchor(axis: Axis, value: float, beside: float | None = None) -> str:
    """Where a label starts, so that it stays on the canvas and away from the stem at `beside`."""
    place = axis(value)
    if beside is not None and abs(place - axis(beside)) < 70:
        return "end" if value < beside else "start"
    return "start" if place < 70 else "end" if place > 970 else "middle"
