"""Error over time of all policies, with their new champions, as one SVG file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.loop.replay import EPOCH, Replay
from tideline.report.svg import Axis, Canvas

COLOURS = {"frozen": "#8a949b", "monthly": "#1f6f9c", "ours": "#c4532d", "schedule": "#c79a2b"}
WIDTH, HEIGHT, FORTNIGHT = 980, 430, 14


def draw(found: Sequence[Replay], path: Path) -> None:
    """RMSE over a sliding fortnight; a dot for each new champion (the yardstick has one each month)."""
    curves = {r.policy.name: _smooth(r) for r in found}
    days = next(iter(curves.values())).index.to_numpy(np.float64)
    top = max(float(curve.max()) for curve in curves.values())
    x, y = Axis(float(days[0]), float(days[-1]), 60, WIDTH - 20), Axis(0, top * 1.05, HEIGHT - 40, 60 + 18 * len(found))
    canvas = Canvas(WIDTH, HEIGHT, "RMSE over 2012 by policy")
    canvas.rect(0, 0, WIDTH, HEIGHT, "#ffffff")
    canvas.text(20, 26, "Bikes: 2012 replayed through the server, RMSE of a fortnight in rentals an hour", kind="title")
    for value in y.ticks():
        canvas.line(x.start, y(value), x.end, y(value), "#e6e9eb")
        canvas.text(52, y(value) + 4, f"{value:g}", "end")
    first, last = (np.datetime64(EPOCH + int(day), "M") for day in (days[0], days[-1]))
    for month in np.arange(first, last + 1):
        at = x(float(month.astype("datetime64[D]").astype(int)))
        canvas.line(at, y.start, at, y.start + 4, "#8a949b")
        canvas.text(at + 4, y.start + 18, str(month))
    for number, r in enumerate(found):
        colour, curve = COLOURS[r.policy.name], curves[r.policy.name]
        canvas.line(20, 46 + 18 * number, 44, 46 + 18 * number, colour, 3)
        canvas.text(52, 50 + 18 * number, f"{r.rmse():.1f}   {r.policy.title}")
        canvas.polyline(x.map(days), y.map(curve.to_numpy()), colour, 2)
        for day, what, _ in r.events:
            if what == "promoted" and r.policy.months != 1:
                canvas.circle(x(day), y(float(np.interp(day, days, curve.to_numpy()))), 5, colour, "#ffffff")
    style = "<style>text{font:12px system-ui,sans-serif;fill:#333}.title{font-size:15px;font-weight:600}</style>"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">{style}'
    path.write_text(head + "".join(canvas.parts) + "</svg>\n")


def _smooth(found: Replay) -> pd.Series[float]:
    by_day = pd.DataFrame(found.errors, columns=["day", "square"]).groupby("day")["square"].mean()
    return by_day.rolling(FORTNIGHT, min_periods=4, center=True).mean() ** 0.5
