"""Pictures of how numbers were predicted."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from tideline.report.evidence import Evidence
from tideline.report.numbers import write_number, write_signed, write_tick
from tideline.report.svg import DIVERGING, SEQUENCE, Axis, Canvas

CELLS = 56


def draw_agreement(evidence: Evidence) -> Markup:
    """Predicted against actual: a 2-d histogram, darker where more rows lie."""
    actual, predicted = evidence.actual, evidence.prediction.values
    unit = evidence.task.target.unit
    low, high = _limits(np.concatenate([actual, predicted]))
    canvas = Canvas(488, 500, "Predicted against actual values")
    x, y = Axis(low, high, 48, 478), Axis(low, high, 452, 22)
    canvas.frame(x, y, f"actual, {unit}", f"predicted, {unit}")
    counts, edges, _ = np.histogram2d(actual, predicted, bins=CELLS, range=((low, high), (low, high)))
    levels = np.minimum((np.log1p(counts) / np.log1p(counts.max()) * len(SEQUENCE)).astype(int), len(SEQUENCE) - 1)
    step = x(edges[1]) - x(edges[0])
    for number, fill in enumerate(SEQUENCE):
        cells = np.argwhere((counts > 0) & (levels == number))
        data = "".join(
            f"M{x(edges[i]):.1f} {y(edges[j + 1]):.1f}h{step:.1f}v{step:.1f}h-{step:.1f}z" for i, j in cells.tolist()
        )
        if data:
            canvas.path(data, fill=fill)
    canvas.line(x(low), y(low), x(high), y(high), "var(--ink)", 1, "2 4")
    return canvas.render()


def draw_residuals(evidence: Evidence) -> Markup:
    """How far off the predictions are, in signed units."""
    residuals = evidence.prediction.values - evidence.actual
    reach = float(np.quantile(np.abs(residuals), 0.99)) or 1.0
    canvas = Canvas(488, 264, "Distribution of residuals")
    counts, edges = np.histogram(np.clip(residuals, -reach, reach), bins=49, range=(-reach, reach))
    x, y = Axis(-reach, reach, 16, 472), Axis(0, float(counts.max()), 216, 26)
    half = float(np.quantile(np.abs(residuals), 0.5))
    canvas.rect(x(-half), 26, x(half) - x(-half), 190, "var(--soft)")
    canvas.text(x(half) + 6, 38, f"half of all rows: within ±{write_number(half)}", kind="tick")
    for count, left, right in zip(counts, edges, edges[1:], strict=False):
        middle = (left + right) / 2
        place = round((middle / reach + 1) / 2 * (len(DIVERGING) - 1))
        tip = f"{write_number(left)} to {write_number(right)}: {count:,} rows"
        canvas.rect(x(left) + 0.6, y(count), x(right) - x(left) - 1.2, 216 - y(count), DIVERGING[place], 1, tip=tip)
    canvas.line(16, 216, 472, 216, "var(--edge)")
    canvas.line(x(0), 26, x(0), 220, "var(--ink)", 1, "2 4")
    for value in x.ticks(6):
        canvas.text(x(value), 234, write_tick(value), "middle", "tick")
    canvas.text(16, 256, "← too low", kind="name")
    canvas.text(472, 256, f"too high, {evidence.task.target.unit} →", "end", "name")
    return canvas.render()


def draw_time(evidence: Evidence) -> Markup:
    """Actual and predicted over the test rows in time order: means of about 180 stretches."""
    actual, predicted = evidence.actual, evidence.prediction.values
    name = evidence.task.split.by[0]
    moment = evidence.frame[name].to_numpy(dtype=np.float64)
    edges = np.linspace(moment.min(), moment.max() + 1e-9, min(183, max(2, len(np.unique(moment)))) + 1)
    place = np.clip(np.searchsorted(edges, moment, side="right") - 1, 0, len(edges) - 2)
    count = np.bincount(place, minlength=len(edges) - 1)
    with np.errstate(invalid="ignore"):
        true = np.bincount(place, weights=actual, minlength=len(count)) / count
        said = np.bincount(place, weights=predicted, minlength=len(count)) / count
    canvas = Canvas(1048, 300, "Actual and predicted over time")
    x = Axis(float(edges[0]), float(edges[-1]), 48, 1036)
    y = Axis(min(0.0, float(np.nanmin(true))), float(np.nanmax([true, said])) * 1.05, 256, 34)
    for value in y.ticks(5):
        canvas.line(48, y(value), 1036, y(value), "var(--grid)")
        canvas.text(40, y(value) + 4, write_number(value), "end", "tick")
    for value, text in _moments(evidence, x):
        canvas.line(x(value), 256, x(value), 261, "var(--edge)")
        canvas.text(x(value), 276, text, "middle", "tick")
    canvas.line(48, 256, 1036, 256, "var(--edge)")
    middle = x.map((edges[:-1] + edges[1:]) / 2)
    canvas.polyline(middle, y.map(true), "var(--muted)", 1.6)
    canvas.polyline(middle, y.map(said), "var(--accent)", 2)
    canvas.legend(52, 20, [("var(--muted)", "actual, mean"), ("var(--accent)", "predicted, mean")])
    return canvas.render()


def draw_maps(evidence: Evidence) -> tuple[Markup, Markup]:
    """The test rows where they lie: coloured by the actual value, and by how far off the prediction is."""
    names = evidence.task.map
    if names is None:
        raise ValueError(f"task {evidence.task.name} has no map")
    places = [evidence.frame[name].to_numpy(dtype=np.float64) for name in names]
    residuals = evidence.prediction.values - evidence.actual
    reach = float(np.quantile(np.abs(residuals), 0.95)) or 1.0
    edges = np.quantile(evidence.actual, np.linspace(0, 1, len(SEQUENCE) + 1)[1:-1])
    value = np.searchsorted(edges, evidence.actual)
    error = np.clip(np.rint((residuals / reach + 1) / 2 * (len(DIVERGING) - 1)), 0, len(DIVERGING) - 1).astype(int)
    low, high = float(evidence.actual.min()), float(evidence.actual.max())
    ends = (write_number(low), "by eighths", write_number(high))
    return (
        _map(places, value, SEQUENCE, "Actual values on the map", ends),
        _map(places, error, DIVERGING, "Residuals on the map", (write_signed(-reach), "exact", write_signed(reach))),
    )


def _map(
    places: list[np.ndarray], colour: np.ndarray, palette: tuple[str, ...], label: str, legend: tuple[str, str, str]
) -> Markup:
    east, north = places
    narrow = float(np.cos(np.radians(np.nanmean(north))))
    spans = float(np.ptp(east)) * narrow, float(np.ptp(north))
    scale = min(420 / (spans[0] or 1), 480 / (spans[1] or 1))
    width, height = spans[0] * scale, spans[1] * scale
    left = 40 + (440 - width) / 2
    canvas = Canvas(500, height + 40, label)
    x = Axis(float(east.min()), float(east.max()), left, left + width)
    y = Axis(float(north.min()), float(north.max()), height + 12, 12)
    for value in y.ticks(5):
        canvas.line(30, y(value), 492, y(value), "var(--grid)")
        canvas.text(24, y(value) + 4, f"{value:g}°", "end", "tick")
    for value in x.ticks(5):
        canvas.line(x(value), 6, x(value), height + 18, "var(--grid)")
        canvas.text(x(value), height + 32, f"{value:g}°".replace("-", "−"), "middle", "tick")
    canvas.dots(x.map(east), y.map(north), colour, palette, 4)
    cell = 24
    start = 492 - cell * len(palette)
    for number, fill in enumerate(palette):
        canvas.rect(start + number * cell, 8, cell, 8, fill)
    for part, (text, anchor) in enumerate(zip(legend, ("start", "middle", "end"), strict=True)):
        canvas.text(start + part * cell * len(palette) / 2, 32, text, anchor, "tick halo")
    return canvas.render()


def _moments(evidence: Evidence, axis: Axis) -> list[tuple[float, str]]:
    name = evidence.task.split.by[0]
    column = next((c for c in (*evidence.task.columns, *evidence.task.extra) if c.name == name), None)
    if column is None or column.kind != "date":
        return [(value, write_number(value)) for value in axis.ticks(8)]
    first = np.datetime64(int(axis.low), "D").astype("datetime64[M]") + 1
    months = np.arange(first, np.datetime64(int(axis.high), "D").astype("datetime64[M]") + 1)
    chosen = months[:: max(1, len(months) // 12)]
    return [(float(m.astype("datetime64[D]").astype(int)), m.item().strftime("%b %Y")) for m in chosen]


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(np.quantile(values, 0.999))
    pad = (high - low) * 0.02 or 1.0
    return low - pad, max(high, low) + pad
