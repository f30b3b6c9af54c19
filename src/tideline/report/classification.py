"""Pictures of how classes were predicted."""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup

from tideline import metrics
from tideline.contracts import Task
from tideline.report.evidence import Evidence
from tideline.report.svg import SEQUENCE, Axis, Canvas


def draw_confusion(evidence: Evidence) -> Markup:
    """True classes by predicted classes; right answers on the diagonal in one colour, mistakes in another."""
    table = metrics.confusion(evidence.actual, evidence.prediction.probabilities)
    names, n = evidence.task.classes, len(evidence.task.classes)
    margin = min(120, 24 + 7 * max(len(name) for name in names))
    cell = (478 - margin) / n
    canvas = Canvas(488, 478 - margin + 70, "Confusion matrix")
    worst = max(1, int((table - np.diag(np.diag(table))).max()))
    for i in range(n):
        total = max(1, int(table[i].sum()))
        canvas.text(margin - 10, 30 + (i + 0.5) * cell + 4, names[i], "end", "tick")
        canvas.text(margin + (i + 0.5) * cell, 30 + n * cell + 20, names[i], "middle", "tick")
        for j in range(n):
            count = int(table[i, j])
            x, y = margin + j * cell, 30 + i * cell
            canvas.rect(x + 1, y + 1, cell - 2, cell - 2, "var(--grid)", 3)
            if count:
                right = i == j
                strength = 0.25 + 0.75 * (count / total if right else count / worst)
                tip = f"{names[i]} taken for {names[j]}: {count} of {total}"
                fill = "var(--accent)" if right else "var(--warm)"
                canvas.rect(x + 1, y + 1, cell - 2, cell - 2, fill, 3, round(strength, 2), tip)
                if cell > 17:
                    ink = "var(--card)" if strength > 0.6 else ""
                    canvas.text(x + cell / 2, y + cell / 2 + 4, f"{count:,}", "middle", "cell", ink)
    canvas.text(margin, 18, "true ↓", kind="name")
    canvas.text(478, 30 + n * cell + 38, "predicted →", "end", "name")
    return canvas.render()


def draw_calibration(evidence: Evidence) -> Markup:
    """How often the model is right, by how sure it is; the dots' areas are the numbers of rows."""
    found = metrics.calibrate(evidence.actual, evidence.prediction.probabilities)
    canvas = Canvas(488, 330, "Calibration")
    x, y = Axis(0, 1, 48, 474), Axis(0, 1, 280, 26)
    canvas.frame(x, y, "how sure it was", "how often it was right")
    canvas.line(x(0), y(0), x(1), y(1), "var(--muted)", 1, "2 4")
    filled = found.count > 0
    canvas.polyline(x.map(found.confidence[filled]), y.map(found.accuracy[filled]), "var(--accent)", 2)
    for count, sure, right in zip(found.count[filled], found.confidence[filled], found.accuracy[filled], strict=True):
        radius = 4 + 12 * math.sqrt(count / found.count.max())
        tip = f"{count:,} rows, sure by {sure:.1%}, right in {right:.1%}"
        canvas.circle(x(sure), y(right), round(radius, 1), "var(--accent-soft)", "var(--accent)", tip)
    return canvas.render()


def draw_mistakes(evidence: Evidence, most: int = 12) -> list[tuple[Markup, str, str, float]]:
    """The surest wrong answers of an image task: picture, true class, predicted class, probability."""
    side, probabilities = image_side(evidence.task), evidence.prediction.probabilities
    if side is None:
        return []
    said = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(said != evidence.actual)
    order = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:most]
    pixels = evidence.frame[list(evidence.task.feature_names)].to_numpy(dtype=np.float64)
    top = float(pixels.max()) or 1.0
    names = evidence.task.classes
    return [
        (
            draw_image(pixels[row] / top, side, f"a {names[evidence.actual[row]]}"),
            names[evidence.actual[row]],
            names[said[row]],
            float(probabilities[row].max()),
        )
        for row in order
    ]


def draw_image(shares: np.ndarray, side: int, label: str) -> Markup:
    """A square picture from values of 0 to 1, row by row."""
    canvas = Canvas(side * 10, side * 10, label)
    levels = np.rint(np.clip(shares, 0, 1) * len(SEQUENCE)).astype(int)
    for number, fill in enumerate(SEQUENCE, start=1):
        cells = np.flatnonzero(levels == number).tolist()
        if cells:
            canvas.path("".join(f"M{i % side * 10} {i // side * 10}h10v10h-10z" for i in cells), fill=fill)
    return canvas.render()


def image_side(task: Task) -> int | None:
    """Side of the square picture that the columns make, if they do: alike in kind, unit and range, and 16 or more."""
    first = task.columns[0]
    side = math.isqrt(len(task.columns))
    alike = all((c.kind, c.unit, c.minimum, c.maximum) == (first.kind, first.unit, first.minimum, first.maximum)
                for c in task.columns)  # fmt: skip
    return side if alike and not first.is_text and side >= 4 and side * side == len(task.columns) else None
