"""A small canvas for inline SVG. Colours are CSS variables of the page, so pictures follow its light and dark looks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from tideline.report.numbers import write_tick

_LAYERS = 12
SEQUENCE = tuple(f"var(--seq-{i})" for i in range(1, 9))
DIVERGING = tuple(f"var(--div-{i})" for i in range(1, 10))


def trim(value: float) -> str:
    """A coordinate with at most one decimal."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


@dataclass(frozen=True)
class Axis:
    """A linear scale from values low..high to pixels start..end."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixel of a value."""
        return self.start + (value - self.low) / ((self.high - self.low) or 1.0) * (self.end - self.start)

    def map(self, values: np.ndarray) -> np.ndarray:
        """Pixels of values."""
        return np.asarray(self.start + (values - self.low) / ((self.high - self.low) or 1.0) * (self.end - self.start))

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round values inside the scale, about `wanted` of them."""
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        raw = span / wanted
        base = 10.0 ** math.floor(math.log10(raw))
        step = base * next(m for m in (1, 2, 2.5, 5, 10) if m * base >= raw * 0.7)
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first + 1
        return [round((first + i) * step, 12) for i in range(count)]


class Canvas:
    """Shapes in drawing order. All text is escaped."""

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width, self.height, self.label = width, height, label
        self.parts: list[str] = []

    def rect(
        self, x: float, y: float, w: float, h: float, fill: str, radius: float = 0, opacity: float = 1, tip: str = ""
    ) -> None:
        """A filled rectangle, with a text that shows when the pointer rests on it."""
        extra = (f' rx="{trim(radius)}"' if radius else "") + (f' opacity="{opacity:g}"' if opacity < 1 else "")
        size = f'width="{trim(max(w, 0))}" height="{trim(max(h, 0))}"'
        shape = f'<rect x="{trim(x)}" y="{trim(y)}" {size} fill="{fill}"{extra}'
        self.parts.append(f"{shape}><title>{escape(tip)}</title></rect>" if tip else f"{shape}/>")

    def line(self, x1: float, y1: float, x2: float, y2: float, stroke: str, width: float = 1, dash: str = "") -> None:
        """A straight line."""
        extra = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<line x1="{trim(x1)}" y1="{trim(y1)}" x2="{trim(x2)}" y2="{trim(y2)}" '
            f'stroke="{stroke}" stroke-width="{width:g}"{extra}/>'
        )

    def circle(self, x: float, y: float, radius: float, fill: str, stroke: str = "none", tip: str = "") -> None:
        """A dot."""
        shape = f'<circle cx="{trim(x)}" cy="{trim(y)}" r="{radius:g}" fill="{fill}" stroke="{stroke}" stroke-width="2"'
        self.parts.append(f"{shape}><title>{escape(tip)}</title></circle>" if tip else f"{shape}/>")

    def path(
        self,
        data: str,
        fill: str = "none",
        stroke: str = "none",
        width: float = 1.5,
        opacity: float = 1,
        dash: str = "",
    ) -> None:
        """A path in SVG's own words."""
        extra = (f' opacity="{opacity:g}"' if opacity < 1 else "") + (f' stroke-dasharray="{dash}"' if dash else "")
        self.parts.append(
            f'<path d="{data}" fill="{fill}" stroke="{stroke}" stroke-width="{width:g}" '
            f'stroke-linecap="round" stroke-linejoin="round"{extra}/>'
        )

    def polyline(self, x: np.ndarray, y: np.ndarray, stroke: str, width: float = 1.5, opacity: float = 1) -> None:
        """A line through points; NaN breaks it."""
        self.path(trace(x, y), stroke=stroke, width=width, opacity=opacity)

    def dots(self, x: np.ndarray, y: np.ndarray, colour: np.ndarray, palette: Sequence[str], size: float) -> None:
        """Many dots, `colour` being positions in the palette.

        One path for each colour keeps the page small; layers in a mixed order keep one colour from hiding others.
        """
        layers = np.random.default_rng(0).integers(0, _LAYERS, len(x))
        for layer in range(_LAYERS):
            for number, stroke in enumerate(palette):
                own = np.flatnonzero((colour == number) & (layers == layer))
                if len(own):
                    data = "".join(f"M{trim(a)} {trim(b)}h0" for a, b in zip(x[own], y[own], strict=True))
                    self.path(data, stroke=stroke, width=size, opacity=0.9)

    def text(self, x: float, y: float, text: str, anchor: str = "start", kind: str = "", fill: str = "") -> None:
        """One line of text; `kind` is a class of the page's style."""
        extra = (f' class="{kind}"' if kind else "") + (f' style="fill:{fill}"' if fill else "")
        self.parts.append(f'<text x="{trim(x)}" y="{trim(y)}" text-anchor="{anchor}"{extra}>{escape(text)}</text>')

    def frame(self, x: Axis, y: Axis, x_name: str = "", y_name: str = "", wanted: tuple[int, int] = (5, 5)) -> None:
        """Grid lines, tick labels and the names of both axes."""
        bottom, left = max(y.start, y.end), min(x.start, x.end)
        for value in y.ticks(wanted[1]):
            self.line(x.start, y(value), x.end, y(value), "var(--grid)")
            self.text(left - 8, y(value) + 4, write_tick(value), "end", "tick")
        for value in x.ticks(wanted[0]):
            self.line(x(value), bottom, x(value), bottom + 4, "var(--edge)")
            self.text(x(value), bottom + 18, write_tick(value), "middle", "tick")
        self.line(x.start, bottom, x.end, bottom, "var(--edge)")
        if x_name:
            self.text(max(x.start, x.end), bottom + 36, x_name, "end", "name")
        if y_name:
            self.text(left - 8, min(y.start, y.end) - 12, y_name, "start", "name")

    def legend(self, x: float, y: float, entries: Iterable[tuple[str, str]]) -> None:
        """Coloured keys in a row, from x on."""
        for colour, name in entries:
            self.rect(x, y - 8, 14, 4, colour, 2)
            self.text(x + 20, y - 2, name, kind="tick")
            x += 36 + 6.6 * len(name)

    def render(self) -> Markup:
        """The picture, scaling with its column."""
        return Markup(
            f'<svg viewBox="0 0 {trim(self.width)} {trim(self.height)}" role="img" aria-label="{escape(self.label)}">'
            + "".join(self.parts)
            + "</svg>"
        )


def trace(x: np.ndarray, y: np.ndarray) -> str:
    """Path data through points (n,); a point that is not finite interrupts it."""
    data, pen = [], "M"
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        if math.isfinite(a) and math.isfinite(b):
            data.append(f"{pen}{trim(a)} {trim(b)}")
            pen = "L"
        else:
            pen = "M"
    return "".join(data)
