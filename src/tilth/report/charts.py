"""Pictures as inline SVG, drawn from numbers.

Places along the width are percentages and heights are pixels, so that a picture fills any width and its text keeps
its size. Colours are classes of the style sheet: they follow the reader's light or dark theme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tilth.report.markup import Markup, el, shown

__all__ = [
    "Bins",
    "Interval",
    "bars",
    "bins",
    "forest",
    "histograms",
    "lines",
    "number",
    "percent",
    "picture",
    "shares",
    "ticks",
]

Floats = npt.NDArray[np.float64]
LABEL = 40  # characters of a label that fit the narrowest screen


def number(value: float) -> str:
    """A number in as few characters as it needs: whole numbers with separators, others with 3 or 4 digits.

    >>> [number(v) for v in (12345.0, 0.123456, 1e-7, -2.5, float("nan"))]
    ['12,345', '0.1235', '1e-07', '-2.5', '–']
    """
    if not np.isfinite(value):
        return "–" if np.isnan(value) else ("∞" if value > 0 else "-∞")
    if value == round(value) and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most `most` round numbers from low to high: multiples of 1, 2 or 5 times a power of ten.

    >>> ticks(0.0, 0.43), ticks(1, 60)
    ([0.0, 0.1, 0.2, 0.3, 0.4], [10.0, 20.0, 30.0, 40.0, 50.0, 60.0])
    """
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** np.floor(np.log10(rough))
    for step in (power * np.array([1.0, 2, 5, 10, 20])).tolist():
        places = np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1)
        if places.size <= most:
            break
    return [float(f"{place * step:.12g}") + 0.0 for place in places.tolist()]  # + 0.0: never minus zero


def percent(value: float) -> str:
    """A place along the width."""
    return f"{value:.2f}".rstrip("0").rstrip(".") + "%"


def _share(value: float) -> str:
    return f"{value:.1%}" if np.isfinite(value) else "–"


def picture(title: str, about: str, height: float, *children: object, width: object = "100%") -> Markup:
    """An SVG element with what a screen reader says of it."""
    return el(
        "svg", el("title", title), el("desc", about), children,
        role="img", aria_label=f"{title}. {about}", width=width, height=f"{height:g}",
    )  # fmt: skip


def _label(text: object, y: float) -> Markup:
    return el("text", shown(text, LABEL), x="0", y=f"{y:g}", class_="label")


def bars(title: str, rows: Mapping[str, Sequence[float]], series: Sequence[str], unit: str = "") -> Markup:
    """For each row one bar per series, from zero, with its value at its end; missing values are NaN."""
    finite = [v for values in rows.values() for v in values if np.isfinite(v)]
    top = max([*finite, 0.0]) or 1.0
    colours = _colours(series)
    step, thick = 22 + 15 * len(series), 12
    parts: list[Markup] = []
    for i, (name, values) in enumerate(rows.items()):
        y = i * step
        parts.append(_label(name, y + 14))
        for k, value in enumerate(values):
            if not np.isfinite(value):
                continue
            at, width = y + 20 + 15 * k, 78 * max(value, 0.0) / top
            parts.append(el("rect", x="0", y=at, width=percent(width), height=thick, rx="2",
                            class_=colours[k]))  # fmt: skip
            text = f"{value:.1%}" if unit == "%" else f"{number(value)}{unit}"
            parts.append(el("text", text, x=percent(width), dx="6", y=at + 10, class_="value"))
    about = f"{len(rows)} rows; bars: {', '.join(series)}; the longest is {number(top)}."
    whole = picture(title, about, max(1, len(rows)) * step + 4, parts)
    return el("figure", legend(series) if len(series) > 1 else None, whole, class_="chart")


def _colours(series: Sequence[str]) -> list[str]:
    """The last series is what came out, and has the strongest colour in every picture."""
    return [*["series0", "series1"][: len(series) - 1], "series2"]


def legend(series: Sequence[str]) -> Markup:
    """Which colour is which."""
    keys = [el("span", el("i", class_=f"key {c}"), name) for c, name in zip(_colours(series), series, strict=True)]
    return el("figcaption", keys, class_="legend")


def _group(name: str, y: int) -> Markup:
    """The name of a small picture's row, cut where the picture begins; hovering shows all of it."""
    text = el("text", shown(name, LABEL), el("title", shown(name, 200)), x="0", y="15", class_="tick")
    return el("svg", text, x="0", y=y, width="30%", height="24")


@dataclass(frozen=True)
class Interval:
    """One row of a forest plot."""

    name: str
    middle: float
    low: float
    high: float
    call: str


def forest(title: str, rows: Sequence[Interval], unit: str, left: str, right: str, before: str = "vs ") -> Markup:
    """Intervals on one scale with a line at zero: an interval that crosses it shows no difference."""
    reach = [v for r in rows for v in (r.low, r.high, r.middle) if np.isfinite(v)]
    low, high = min([0.0, *reach]), max([0.0, *reach])
    pad = 0.06 * (high - low or 1.0)
    low, high = low - pad, high + pad

    def at(value: float) -> str:
        return percent(100 * (value - low) / (high - low))

    step, foot = 46, 38
    bottom = len(rows) * step + 4
    parts = [el("line", x1=at(0), x2=at(0), y1="0", y2=bottom + 6, class_="zero")]
    for i, row in enumerate(rows):
        y = i * step + 30
        marks = {"better": "good", "worse": "bad"}.get(row.call, "even")
        parts += [
            _label(f"{before}{shown(row.name, 24)}: {row.call}", y - 14),
            el("line", x1=at(row.low), x2=at(row.high), y1=y, y2=y, class_=f"span {marks}"),
            *(el("line", x1=at(v), x2=at(v), y1=y - 5, y2=y + 5, class_=f"span {marks}") for v in (row.low, row.high)),
            el("circle", cx=at(row.middle), cy=y, r="5", class_=f"dot {marks}"),
        ]
    for value in (low + pad, 0.0, high - pad):
        # A tick too near to zero's would print over it.
        if value and abs(value) < 0.15 * (high - low):
            continue
        place = 100 * (value - low) / (high - low)
        anchor = "start" if place < 15 else "end" if place > 85 else "middle"
        parts.append(el("text", f"{value:+.4f}" if value else "0", x=at(value), y=bottom + 18, class_="tick",
                        text_anchor=anchor))  # fmt: skip
    parts.append(el("text", f"← {left}", x="0", y=bottom + foot - 4, class_="tick"))
    parts.append(el("text", f"{right} →", x="100%", y=bottom + foot - 4, class_="tick", text_anchor="end"))
    told = "; ".join(f"{r.name} {r.middle:+.4f} [{r.low:+.4f}, {r.high:+.4f}] {r.call}" for r in rows)
    return el("figure", picture(title, f"In {unit}: {told}.", bottom + foot, parts), class_="chart")


def lines(
    title: str, series: Mapping[str, tuple[Floats, Floats]], across: str, unit: str, first: str, second: str
) -> Markup:
    """Curves over a logarithmic scale: `first` in the strongest colour, `second` beside it, the others in grey."""
    x = np.concatenate([np.log(np.maximum(at, 1.0)) for at, _ in series.values()])
    y = np.concatenate([value for _, value in series.values()])
    (left, right), (low, high) = (float(x.min()), float(x.max())), (float(y.min()), float(y.max()))
    wide, tall, height = right - left or 1.0, high - low or 1.0, 200
    colours = {second: " orange", first: " blue"}
    order = [*(n for n in series if n not in colours), *(n for n in (second, first) if n in series)]
    parts: list[Markup] = []
    for name in order:
        at, values = series[name]
        points = [
            f"{1000 * (np.log(max(a, 1.0)) - left) / wide:.1f} {1000 * (high - v) / tall:.1f}"
            for a, v in zip(at, values, strict=True)
        ]
        parts.append(el("path", d="M" + "L".join(points), class_=f"line{colours.get(name, '')}"))
    drawn = el("svg", parts, x="12%", y="8", width="86%", height=height, viewBox="0 -10 1000 1020",
                 preserveAspectRatio="none")  # fmt: skip
    marks = [
        el("text", number(high), x="0", y="18", class_="tick"),
        el("text", number(low), x="0", y=height + 6, class_="tick"),
        el("line", x1="12%", x2="98%", y1=height + 12, y2=height + 12, class_="axis"),
        el("text", number(round(float(np.exp(left)))), x="12%", y=height + 28, class_="tick"),
        el("text", f"{number(round(float(np.exp(right))))} {across}", x="98%", y=height + 28, class_="tick",
           text_anchor="end"),
    ]  # fmt: skip
    ends = "; ".join(f"{n} ends at {number(float(series[n][1][-1]))}" for n in order)
    keys = [
        el("span", el("i", class_=f"key {c}"), shown(name, LABEL))
        for name, c in ((first, "series2"), (second, "series1")) if name in series
    ]  # fmt: skip
    if len(order) > len(keys):
        keys.append(el("span", el("i", class_="key series0"), "others"))
    about = f"{unit} over {across}, logarithmic. {ends}."
    return el(
        "figure", el("figcaption", keys, class_="legend"), picture(title, about, height + 34, drawn, marks),
        class_="chart",
    )  # fmt: skip


@dataclass(frozen=True)
class Bins:
    """How values are put into bins: the same for every group of one picture."""

    edges: Floats
    log: bool = False
    single: bool = False  # each bin is one whole number

    def count(self, values: Floats) -> npt.NDArray[np.int64]:
        """Values per bin; those beyond the first and last edge fall into the first and last bin."""
        x = np.sign(values) * np.log1p(np.abs(values)) if self.log else values
        counts: npt.NDArray[np.int64] = np.histogram(np.clip(x, self.edges[0], self.edges[-1]), self.edges)[0]
        return counts

    @property
    def ends(self) -> tuple[float, float]:
        """The outer edges, in the values' own unit."""
        low, high = (float(v) for v in (self.edges[0], self.edges[-1]))
        if self.single:
            return low + 0.5, high - 0.5
        return (float(np.sign(low) * np.expm1(abs(low))), float(np.expm1(high))) if self.log else (low, high)


def bins(values: Floats, most: int = 28) -> Bins:
    """Bins that show where values are: whole numbers one by one where they are few, a logarithmic scale where the
    tail is long, and the outer 1 % folded into the end bins."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return Bins(np.array([0.0, 1.0]))
    low, high = (float(v) for v in np.quantile(finite, [0.005, 0.995]))
    if high <= low:  # nearly all values are equal: show where the others are
        low, high = float(finite.min()), float(finite.max())
    whole = bool((finite == np.round(finite)).all())
    if whole and high - low < most:
        return Bins(np.arange(np.floor(low), np.ceil(high) + 2) - 0.5, single=True)
    log = low >= 0 and high > 20 * max(float(np.median(finite)), 1.0)
    if log:
        low, high = float(np.log1p(low)), float(np.log1p(high))
    if high <= low:
        low, high = low - 0.5, low + 0.5
    if whole and not log:
        low, high = float(np.floor(low)), float(np.ceil(high))
    return Bins(np.linspace(low, high, most + 1), log)


def histograms(title: str, groups: Mapping[str, Floats], axis: str | None = None) -> Markup:
    """One small histogram per group, all with the same bins, each as high as its own fullest bin.

    Args:
        axis: what the values are; draws the picture larger, with a scale and each group's number of records.
    """
    scale = bins(np.concatenate([*groups.values(), np.zeros(0)]))
    tall = 19 if axis is None else 52
    step = tall + (5 if axis is None else 12)
    parts: list[Markup] = []
    for i, (name, values) in enumerate(groups.items()):
        counts = scale.count(values[np.isfinite(values)])
        parts.append(_group(name, i * step))
        if axis is not None:
            n = int(counts.sum())
            fullest = f"fullest bin {_share(int(counts.max()) / n)}" if n else "no values"
            for k, text in enumerate((f"{n:,} records", fullest)):
                parts.append(el("text", text, x="0", y=i * step + 31 + 15 * k, class_="tick"))
        heights = np.where(counts > 0, np.maximum(tall * counts / max(int(counts.max()), 1), 1.0), 0.0)
        # Whole numbers stand apart, a continuous scale does not.
        bar = "h.85V{tall}h.15" if scale.single else "h1"
        steps = "".join(f"V{tall - h:.1f}{bar.format(tall=tall)}" for h in heights)
        path = el("path", d=f"M0 {tall}{steps}V{tall}z", class_="area")
        parts.append(
            el("svg", path, x="32%", y=i * step, width="68%", height=tall, viewBox=f"0 0 {counts.size} {tall}",
               preserveAspectRatio="none")
        )  # fmt: skip
        parts.append(el("line", x1="32%", x2="100%", y1=i * step + tall, y2=i * step + tall, class_="axis"))
    low, high = scale.ends
    foot = len(groups) * step + 12
    if axis is None:
        parts.append(el("text", number(low), x="32%", y=foot, class_="tick"))
        parts.append(el("text", number(high), x="100%", y=foot, class_="tick", text_anchor="end"))
        if scale.log:
            parts.append(el("text", "log scale", x="66%", y=foot, class_="tick", text_anchor="middle"))
    else:
        parts += _scale(scale, axis, foot)
        foot += 20 if scale.single else 36
    about = f"Histograms from {number(low)} to {number(high)} for {', '.join(shown(g, 30) for g in groups)}."
    return picture(title, about, foot + 6, parts)


def _scale(scale: Bins, axis: str, foot: int) -> list[Markup]:
    """Round numbers under histograms, and what they are."""
    low, high = scale.ends
    ends = scale.edges[0], scale.edges[-1]
    values = [0.0, *(10.0**k for k in range(1, 16))] if scale.log else ticks(low, high, 5)
    parts, last = [], -100.0
    for value in values:
        place = float(np.log1p(value)) if scale.log else value
        at = 32 + 68 * (place - ends[0]) / (ends[1] - ends[0])
        if low <= value <= high and at - last > 9:
            anchor = "start" if at < 35 else "end" if at > 96 else "middle"
            parts.append(el("line", x1=percent(at), x2=percent(at), y1=foot - 24, y2=foot - 19, class_="axis"))
            parts.append(el("text", number(value), x=percent(at), y=foot - 5, class_="tick", text_anchor=anchor))
            last = at
    what = f"{axis} (log scale)" if scale.log else axis
    folded = "the outer 0.5 % on each side are in the end bins"
    for k, line in enumerate([what] if scale.single else [what, folded]):
        parts.append(el("text", line, x="100%", y=foot + 13 + 16 * k, class_="tick", text_anchor="end"))
    return parts


def shares(title: str, groups: Mapping[str, float]) -> Markup:
    """One bar per group that fills from 0 to 100 %."""
    step = 24
    parts: list[Markup] = []
    for i, (name, share) in enumerate(groups.items()):
        y = i * step
        parts.append(_group(name, y))
        parts.append(el("rect", x="32%", y=y + 5, width="52%", height="11", rx="2", class_="track"))
        if np.isfinite(share):
            parts.append(el("rect", x="32%", y=y + 5, width=percent(52 * share), height="11", rx="2", class_="area"))
        parts.append(el("text", _share(share), x="100%", y=y + 15, class_="tick",
                        text_anchor="end"))  # fmt: skip
    told = ", ".join(f"{shown(g, 30)} {_share(v)}" for g, v in groups.items())
    return picture(title, f"Shares: {told}.", len(groups) * step + 2, parts)
