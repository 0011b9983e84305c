"""Pictures of signals as inline SVG, drawn from numbers: points, curves over passes and a matrix of correlations.

Drawn as in `charts`: places along the width are percentages, colours are classes of the style sheet. What is told by
colour is told by shape or by a number too. The legend and the size of the sample are inside the picture, so that they
are also in a file of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tilth.report.charts import LABEL, number, percent, picture, ticks
from tilth.report.markup import Markup, el, shown

__all__ = ["Kind", "curves", "matrix", "scatter", "strongest"]

Floats = npt.NDArray[np.float64]
LEFT, RIGHT = 11.0, 98.0  # percent of the width between which is drawn
TOP = 50  # pixels for legend and the vertical axis's name


@dataclass(frozen=True)
class Kind:
    """One kind of points or lines: its name in the legend, its colour, and a shape that tells it without colour."""

    name: str
    colour: str
    shape: str = "dot"


@dataclass(frozen=True)
class _Frame:
    """Two axes: where values lie in the picture."""

    x: tuple[float, float]
    y: tuple[float, float]
    height: float

    def across(self, value: float) -> str:
        low, high = self.x
        return percent(LEFT + (RIGHT - LEFT) * (value - low) / ((high - low) or 1.0))

    def up(self, value: float) -> float:
        low, high = self.y
        return round(TOP + self.height * (high - value) / ((high - low) or 1.0), 1)

    def axes(self, across: str, upward: str, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> list[Markup]:
        """Grid, round numbers and names."""
        parts = [el("text", upward, x="0", y=TOP - 14, class_="tick")]
        for value in y_ticks:
            y = self.up(value)
            parts.append(el("line", x1=f"{LEFT:g}%", x2=f"{RIGHT:g}%", y1=y, y2=y, class_="axis"))
            parts.append(el("text", number(value), x=f"{LEFT - 1:g}%", y=y + 4, class_="tick", text_anchor="end"))
        floor = TOP + self.height
        for value in x_ticks:
            x = self.across(value)
            parts.append(el("line", x1=x, x2=x, y1=floor, y2=floor + 4, class_="axis"))
            parts.append(el("text", number(value), x=x, y=floor + 18, class_="tick", text_anchor="middle"))
        return [*parts, el("text", across, x=f"{RIGHT:g}%", y=floor + 35, class_="tick", text_anchor="end")]


def _mark(kind: Kind, x: str, y: float, said: object = None) -> Markup:
    name = f"mark {kind.shape} {kind.colour}"
    title = el("title", said) if said is not None else None
    if kind.shape == "square":
        return el("rect", title, x=x, y=round(y - 3, 1), width="6", height="6", transform="translate(-3)", class_=name)
    return el("circle", title, cx=x, cy=y, r="3.5", class_=name)


def _legend(kinds: Sequence[Kind]) -> list[Markup]:
    wide = 100 / max(len(kinds), 1)
    return [
        el("svg", _mark(kind, "7", 11), el("text", kind.name, x="16", y="15", class_="tick"),
           x=percent(i * wide), y="0", width=percent(wide), height="20")
        for i, kind in enumerate(kinds)
    ]  # fmt: skip


def scatter(
    title: str, x: Floats, y: Floats, which: npt.NDArray[np.int64], kinds: Sequence[Kind], hovers: Sequence[str],
    across: str, upward: str, notes: Sequence[str],
) -> Markup:  # fmt: skip
    """A point per record; both scales begin at 0.

    Args:
        which: the kind of each point, a place in `kinds`.
        hovers: what is shown when one points at it; nothing where this is empty.
        notes: what the points and colours are, drawn below them.
    """
    y_ticks = _around(0.0, float(y.max(initial=0)))
    frame = _Frame((0.0, float(x.max(initial=0)) * 1.03 or 1.0), (-0.02 * y_ticks[-1], 1.02 * y_ticks[-1]), 400)
    axes = frame.axes(across, upward, ticks(*frame.x), y_ticks)
    marks = [
        _mark(kinds[k], frame.across(a), frame.up(b), hovers[i] if hovers else None)
        for i, (a, b, k) in enumerate(zip(x.tolist(), y.tolist(), which.tolist(), strict=True))
    ]
    foot = TOP + frame.height + 56
    counts = ", ".join(f"{int((which == k).sum()):,} {kind.name}" for k, kind in enumerate(kinds))
    lines = [el("text", note, x="0", y=foot + 16 * i, class_="tick") for i, note in enumerate(notes)]
    about = f"{upward} over {across}; {'; '.join(notes)}. {counts}."
    tall = foot + 16 * len(notes) - 8
    return el("figure", picture(title, about, tall, _legend(kinds), axes, marks, lines), class_="chart")


def curves(
    title: str,
    series: Mapping[str, Floats],
    kinds: Sequence[Kind],
    across: str,
    upward: str,
    note: str,
) -> Markup:
    """Lines over passes, counted from 1: each the mean of (trainings, passes) numbers, in a band of all trainings."""
    passes = max(values.shape[1] for values in series.values())
    every_value = np.concatenate([values[np.isfinite(values)] for values in series.values()])
    y_ticks = _around(float(every_value.min()), float(every_value.max()))
    frame = _Frame((0.7, passes + 0.3), (y_ticks[0], y_ticks[-1]), 220)
    bands: list[Markup] = []
    parts: list[Markup] = []
    told = []
    drawn = [kind for kind in kinds if kind.name in series]
    every = -(-passes // 20)  # a mark where there is room for one
    for kind in drawn:
        values = series[kind.name]
        known = np.flatnonzero(np.isfinite(values).all(0))
        middle, lowest, highest = (np.asarray(f(values[:, known], 0)) for f in (np.mean, np.min, np.max))
        if len(values) > 1 and known.size > 1:
            bands.append(_band(frame, known + 1, lowest, highest, kind.colour))
        for i in range(known.size - 1):
            parts.append(el("line", x1=frame.across(known[i] + 1), y1=frame.up(middle[i]),
                            x2=frame.across(known[i + 1] + 1), y2=frame.up(middle[i + 1]),
                            class_=f"line {kind.colour}"))  # fmt: skip
        for i, at in enumerate(known.tolist()):
            if at % every:
                continue
            span = f" [{number(lowest[i])}, {number(highest[i])}]" if len(values) > 1 else ""
            said = f"{kind.name}, pass {at + 1}: {number(middle[i])}{span}"
            parts.append(_mark(kind, frame.across(at + 1), frame.up(middle[i]), said))
        told.append(f"{kind.name} ends at {number(float(middle[-1]))}")
    x_ticks = [v for v in ticks(1.0, float(passes), 8) if v == round(v)] if passes > 8 else range(1, passes + 1)
    axes = frame.axes(across, upward, [float(v) for v in x_ticks], y_ticks)
    foot = TOP + frame.height + 56
    note_ = el("text", note, x="0", y=foot, class_="tick")
    about = f"{upward} over {across}. {note}: {'; '.join(told)}."
    return el("figure", picture(title, about, foot + 8, _legend(drawn), axes, bands, parts, note_), class_="chart")


def _around(low: float, high: float) -> list[float]:
    """Round numbers of which the first is not above `low` and the last not below `high`."""
    if not high > low:
        low, high = (0.0, 1.0) if not low else sorted((0.0, 2 * low))
    found = ticks(low, high, 5)
    step = found[1] - found[0] if len(found) > 1 else high - low
    first, last = np.floor(low / step + 1e-6), np.ceil(high / step - 1e-6)
    return [float(f"{k * step:.12g}") + 0.0 for k in np.arange(first, last + 1).tolist()]


def _band(frame: _Frame, at: npt.NDArray[np.int64], low: Floats, high: Floats, colour: str) -> Markup:
    """The area between two lines; stretched to the width, which paths cannot say in percent."""
    left, right = frame.x
    points = [*zip(at, high, strict=True), *zip(at[::-1], low[::-1], strict=True)]
    path = "L".join(f"{1000 * (x - left) / (right - left):.1f} {frame.up(y) - TOP:.1f}" for x, y in points)
    area = el("path", d=f"M{path}z", class_=f"band {colour}")
    return el("svg", area, x=f"{LEFT:g}%", y=TOP, width=f"{RIGHT - LEFT:g}%", height=f"{frame.height:g}",
              viewBox=f"0 0 1000 {frame.height:g}", preserveAspectRatio="none")  # fmt: skip


def matrix(title: str, names: Sequence[str], values: Floats, notes: Sequence[str]) -> Markup:
    """The lower half of a symmetric matrix of numbers from -1 to 1, with each name where its row meets its column.

    Blue is positive and orange negative, the stronger the farther from 0; numbers stand in the cells where few names
    leave room, and elsewhere when one points at them. Missing numbers are NaN and leave their cell empty.
    """
    n = len(names)
    size = 34 if n <= 16 else 24 if n <= 24 else 15
    parts: list[Markup] = []
    for i, name in enumerate(names):
        y = 4 + i * size
        for j in range(i):
            value = float(values[i, j])
            said = f"{shown(name, 80)} and {shown(names[j], 80)}: {number(value)}"
            sign = "none" if not np.isfinite(value) else "warm" if value < 0 else "cold"
            strength = f"{abs(value):.2f}" if np.isfinite(value) else None
            parts.append(el("rect", el("title", said), x=j * size, y=y, width=size, height=size,
                            fill_opacity=strength, class_=f"cell {sign}"))  # fmt: skip
            if size == 34:
                text = _short(value)
                parts.append(el("text", text, x=f"{(j + 0.5) * size:g}", y=y + 21, class_="inside",
                                text_anchor="middle"))  # fmt: skip
        label = el("text", shown(name, LABEL), el("title", shown(name, 200)), x=i * size + 6, y=y + size // 2 + 4,
                   class_="tick ink")  # fmt: skip
        parts.append(label)
    foot = 4 + n * size + 22
    for k, value in enumerate(np.linspace(-1, 1, 9).tolist()):
        parts.append(el("rect", x=24 + 16 * k, y=foot - 11, width="15", height="14", fill_opacity=f"{abs(value):.2f}",
                        class_=f"cell {'warm' if value < 0 else 'cold'}"))  # fmt: skip
    for x, text in ((0, "−1"), (174, "1")):
        parts.append(el("text", text, x=x, y=foot, class_="tick"))
    parts += [el("text", note, x="0", y=foot + 24 + 16 * i, class_="tick") for i, note in enumerate(notes)]
    pairs = strongest(names, values)
    told = ", ".join(f"{a} and {b} {number(v)}" for a, b, v in pairs[:5]) or "none"
    width = max(int(max((i * size + 12 + 7.2 * min(len(s), LABEL + 1) for i, s in enumerate(names)), default=0)), 340)
    drawn = picture(title, f"{'; '.join(notes)}. Strongest: {told}.", foot + 16 + 16 * len(notes), parts, width=width)
    return el("figure", drawn, class_="scroll", tabindex="0", role="region", aria_label=title)


def _short(value: float) -> str:
    """At most four characters, which fit a cell."""
    text = f"{round(value, 2) + 0.0:.2f}" if np.isfinite(value) else "–"
    return {"1.00": "1", "-1.00": "−1"}.get(text, text.replace("-", "−").replace("0.", ".", 1))


def strongest(names: Sequence[str], values: Floats) -> list[tuple[str, str, float]]:
    """Pairs of names and their number, the largest first, whatever its sign."""
    pairs = [(names[j], names[i], float(values[i, j])) for i in range(len(names)) for j in range(i)]
    return sorted((p for p in pairs if np.isfinite(p[2])), key=lambda p: (-abs(p[2]), p[0], p[1]))
