"""The report's charts as SVG text. Colours come from the page's CSS classes, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from selfsup_bench.records.record import Projection
from selfsup_bench.report.palette import CLASS_COLOURS
from selfsup_bench.report.svg import Scale, dots, element, path, text, tick_label, ticks, title
from selfsup_bench.statistics.estimates import Estimate

STRIP = 200.0
"""Width of a row of a dot plot."""
MOST_NAMES = 12
"""Classes whose names stand in a picture of embeddings; more would hide it."""


@dataclass(frozen=True)
class Series:
    """A line of a chart."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    """CSS class of its colour."""
    note: str = ""
    """Said behind the name in the tooltip."""
    dashed: bool = False
    spans: Mapping[float, tuple[float, float]] = field(default_factory=dict)
    """Place on the horizontal axis to the ends of the interval there."""


def bar(estimate: Estimate | None, low: float, high: float, *, colour: str) -> str:
    """A bar from zero to the mean, with the interval over it; only a picture of the number beside it."""
    width, height = 160.0, 18.0
    x = Scale(low, high, 2, width - 6)
    parts = [element("line", x1=2, x2=width - 6, y1=height / 2, y2=height / 2, class_="track")]
    if estimate is not None:
        zero, end = x(min(high, max(low, 0.0))), x(min(high, max(low, estimate.mean)))
        size = {"x": min(zero, end), "width": max(1.0, abs(end - zero))}
        parts.append(element("rect", y=4, height=height - 8, rx=2, class_=f"bar {colour}", **size))
        if estimate.interval is not None:
            ends = [x(min(high, max(low, bound))) for bound in (estimate.interval.low, estimate.interval.high)]
            parts.append(
                element("path", d=f"M{ends[0]:.1f} 9H{ends[1]:.1f}M{ends[0]:.1f} 5v8M{ends[1]:.1f} 5v8", class_="error")
            )
    return element("svg", *parts, viewBox=f"0 0 {width:g} {height:g}", preserveAspectRatio="none", aria_hidden="true")


def interval_strip(
    estimate: Estimate | None, low: float, high: float, *, marks: Mapping[str, float], colour: str, label: str, hollow: bool
) -> str:
    """One row of a dot plot: the mean as a dot, the interval as a bar, references as upright lines.

    Args:
        estimate: what to draw; None leaves the row empty but for the references.
        low: left end of the axis, the same for all rows.
        high: right end.
        marks: name of a reference to its mean.
        colour: CSS class.
        label: tooltip.
        hollow: whether this row is a reference itself.
    """
    width, height = STRIP, 26.0
    x = Scale(low, high, 8, width - 8)
    parts = [element("line", x1=8, x2=width - 8, y1=height / 2, y2=height / 2, class_="track")]
    for name, value in marks.items():
        place = x(value)
        parts.append(element("line", title(f"{name}: {value:.4g}"), x1=place, x2=place, y1=4, y2=height - 4, class_="mark"))
    if estimate is not None:
        if estimate.interval is not None:
            ends = (max(low, estimate.interval.low), min(high, estimate.interval.high))
            bar = {"x1": x(ends[0]), "x2": x(ends[1]), "y1": height / 2, "y2": height / 2}
            parts.append(element("line", title(label), class_=f"whisker {colour}", **bar))
        parts.append(
            element("circle", title(label), cx=x(estimate.mean), cy=height / 2, r=5, class_=f"dot {colour}{' hollow' * hollow}")
        )
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
        aria_label=label,
        class_="strip",
    )


def strip_axis(low: float, high: float, factor: float) -> str:
    """The axis over a column of strips; ``factor`` is 100 where shares are shown in per cent."""
    width, height = STRIP, 16.0
    x = Scale(low, high, 8, width - 8)
    parts = [
        text(tick_label(round(value * factor, 6)), x(value), 12, class_="tick", text_anchor="middle")
        for value in ticks(low, high, 4)
    ]
    return element("svg", *parts, viewBox=f"0 0 {width:g} {height:g}", width=width, height=height, aria_hidden="true")


def line_chart(
    series: Sequence[Series],
    *,
    label: str,
    x_title: str,
    y_title: str,
    width: float = 300,
    height: float = 190,
    log_x: bool = False,
    x_ticks: Mapping[float, str] | None = None,
    dots_on: bool = False,
    names: bool = False,
) -> str:
    """Lines over a common axis.

    Args:
        series: what to draw; points that are not finite are left out.
        label: what the chart shows, for screen readers.
        x_title: of the horizontal axis.
        y_title: of the upright axis, written over it.
        width: of the view box.
        height: of the view box.
        log_x: whether the horizontal axis is logarithmic.
        x_ticks: place to label; None: round numbers.
        dots_on: whether each point has a dot with its own tooltip.
        names: whether each line's name stands at its end; of lines that end early beside their last point.
    """
    clean = {
        index: [(x, y) for x, y in item.points if math.isfinite(x) and math.isfinite(y)] for index, item in enumerate(series)
    }
    everything = [point for points in clean.values() for point in points]
    if not everything:
        return element("p", "No values were logged.", class_="empty")
    xs = [point[0] for point in everything]
    spans = [bound for item in series for span in item.spans.values() for bound in span if math.isfinite(bound)]
    ys = [point[1] for point in everything] + spans
    pad = (max(ys) - min(ys)) * 0.06 or abs(ys[0]) * 0.05 or 0.05
    left, right, top, bottom = 40.0, width - (200.0 if names else 10.0), 28.0, height - 32.0
    x = Scale(min(xs), max(xs), left, right, log=log_x)
    y = Scale(min(ys) - pad, max(ys) + pad, bottom, top)
    parts: list[str] = []
    for value in ticks(y.low, y.high, max(4, round(height / 55))):
        parts.append(element("line", x1=left, x2=right, y1=y(value), y2=y(value), class_="grid"))
        parts.append(text(tick_label(value), left - 6, y(value) + 3.5, class_="tick", text_anchor="end"))
    places = x_ticks or {value: tick_label(value) for value in ticks(x.low, x.high, 4)}
    for value, name in places.items():
        parts.append(text(name, x(value), bottom + 15, class_="tick", text_anchor="middle"))
    parts.append(element("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"))
    parts.append(text(y_title, 2, 11, class_="tick"))
    parts.append(text(x_title, (left + right) / 2, height - 3, class_="tick", text_anchor="middle"))
    spanned = [index for index, item in enumerate(series) if item.spans]
    for index, item in enumerate(series):
        points = [(x(a), y(b)) for a, b in clean[index]]
        if not points:
            continue
        # Beside each other, so that all can be seen.
        shift = 0.0 if not item.spans else 4.0 * (spanned.index(index) - (len(spanned) - 1) / 2)
        tip = f"{item.name}{f' · {item.note}' if item.note else ''}"
        css = f"line {item.colour}{' dashed' * item.dashed}"
        parts.extend(
            element("line", x1=x(place) + shift, x2=x(place) + shift, y1=y(a), y2=y(b), class_=f"span {item.colour}")
            for place, (a, b) in item.spans.items()
            if math.isfinite(a) and math.isfinite(b)
        )
        parts.append(element("path", title(tip), d=path(points), class_=css))
        if dots_on:
            for (a, b), (px, py) in zip(clean[index], points, strict=True):
                at = (x_ticks or {}).get(a, tick_label(a))
                tooltip = title(f"{item.name}: {b:.4g} at {at}")
                parts.append(element("circle", tooltip, cx=px, cy=py, r=4, class_=f"dot {item.colour}"))
    if names:
        short = {index: points for index, points in clean.items() if points and points[-1][0] < x.high}
        parts.extend(
            text(series[index].name, x(points[-1][0]) + 9, y(points[-1][1]) + 4, class_="name")
            for index, points in short.items()
        )
        long = {index: points for index, points in clean.items() if index not in short}
        parts.extend(_end_names(series, long, y, right, top, bottom))
    return element("svg", *parts, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=label, class_="chart")


def _end_names(
    series: Sequence[Series],
    clean: Mapping[int, Sequence[tuple[float, float]]],
    y: Scale,
    right: float,
    top: float,
    bottom: float,
) -> list[str]:
    """Each line's name at its end, moved apart where they would overlap, with a thin line back to where it belongs."""
    ends = sorted((y(points[-1][1]), index) for index, points in clean.items() if points)
    gap = min(14.0, (bottom - top) / max(1, len(ends) - 1)) if len(ends) > 1 else 14.0
    places = [place for place, _ in ends]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    overflow = places[-1] - bottom if places else 0.0
    if overflow > 0:
        places[-1] -= overflow
        for i in range(len(places) - 2, -1, -1):
            places[i] = min(places[i], places[i + 1] - gap)
    parts: list[str] = []
    for place, (at, index) in zip(places, ends, strict=True):
        colour = series[index].colour
        parts.append(element("path", d=path([(right + 6, at), (right + 16, place)]), class_=f"lead {colour}"))
        parts.append(text(series[index].name, right + 20, place + 4, class_="name"))
    return parts


def scatter(projection: Projection, *, label: str, size: float = 240) -> str:
    """Embeddings in two dimensions, a colour and a name for each class. The axes mean nothing and are left out.

    ``data-rows`` says which row each point of a class is, so that the page's script can show it.
    """
    x = Scale(min(projection.x), max(projection.x), 10, size - 10)
    y = Scale(min(projection.y), max(projection.y), size - 10, 10)
    rows = projection.places or range(len(projection.x))
    by_class: dict[int, list[tuple[float, float, int]]] = {}
    for a, b, cls, row in zip(projection.x, projection.y, projection.labels, rows, strict=True):
        by_class.setdefault(cls, []).append((x(a), y(b), row))
    parts: list[str] = []
    names: list[tuple[str, float, float]] = []
    for cls, points in sorted(by_class.items()):
        name = class_name(projection, cls)
        parts.append(
            element(
                "path",
                title(f"class {name}: {len(points)} samples"),
                d=dots([(a, b) for a, b, _ in points]),
                class_=f"points c{cls % CLASS_COLOURS}",
                data_group=name,
                data_rows=" ".join(str(row) for _, _, row in points),
            )
        )
        names.append((name, median(p[0] for p in points), median(p[1] for p in points) + 4))
    if len(names) <= MOST_NAMES:
        parts.extend(_class_names(names, size))
    return element("svg", *parts, viewBox=f"0 0 {size:g} {size:g}", role="img", aria_label=label, class_="chart scatter")


def _class_names(names: Sequence[tuple[str, float, float]], size: float) -> list[str]:
    """Names of classes at the middle of their points, as far as they do not hide each other."""
    placed: list[tuple[float, float, float]] = []
    parts: list[str] = []
    for name, x, y in names:
        shown = name if len(name) < 19 else f"{name[:17]}…"
        half = min(4.0 * len(shown), size / 2)
        x = min(max(x, half), size - half)
        if all(abs(x - other) > half + other_half or abs(y - height) > 11 for other, height, other_half in placed):
            placed.append((x, y, half))
            parts.append(text(shown, x, y, class_="class-name", text_anchor="middle"))
    return parts


def class_name(projection: Projection, cls: int) -> str:
    """What people call a class."""
    return projection.class_names[cls] if cls < len(projection.class_names) else str(cls)
