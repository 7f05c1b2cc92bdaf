"""Charts of a scale by layer: the predicted 95% band, and what was measured, on a log axis."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import altair as alt
import vl_convert

from steadygrad.numbers import short
from steadygrad.report.pairing import Pair

WIDTH, HEIGHT = 460, 260
FEW = 12  # layers that have a tick each
# Stand-ins that the page replaces by its own colours, light and dark; an SVG attribute cannot hold a CSS variable.
INK, GRID, Q, SIGNAL, GRAD = "#010101", "#020202", "#030303", "#040404", "#050505"
VARIABLES = {INK: "--ink-soft", GRID: "--line", Q: "--q", SIGNAL: "--signal", GRAD: "--grad"}

Row = dict[str, Any]


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _points(pairs: Sequence[Pair], value: Callable[[Pair], float], label: str) -> list[Row]:
    """Rows of a log chart: what is zero or not known has no place on it."""
    return [
        {"position": p.position, "value": value(p), "told": f"{p.path or 'model'}: {label} {short(value(p))}"}
        for p in pairs
        if _positive(value(p))
    ]


def _bands(pairs: Sequence[Pair], ends: Callable[[Pair], tuple[float, float]]) -> list[Row]:
    rows = [(pair.position, *ends(pair)) for pair in pairs]
    return [{"position": x, "low": low, "high": high} for x, low, high in rows if _positive(low) and _positive(high)]


def _x(rows: list[Row]) -> alt.X:
    scale = alt.Scale(nice=False, zero=False, padding=8)
    places = sorted({row["position"] for row in rows})
    # Vega puts ticks between two of a few layers, too.
    axis = alt.Axis(format="d", grid=False, values=places if len(places) <= FEW else alt.Undefined)
    return alt.X("position:Q").scale(scale).title("layer, in the order of execution").axis(axis)


def _y(channel: str, domain: tuple[float, float]) -> alt.Y:
    scale = alt.Scale(type="log", domain=list(domain), nice=False)
    axis = alt.Axis(format=".0e", tickCount=7)
    return alt.Y(f"{channel}:Q").scale(scale).title(None).axis(axis)


def _chart(rows: list[Row]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=rows))


def _band_layer(rows: list[Row], color: str, domain: tuple[float, float]) -> alt.Chart:
    chart = _chart(rows).mark_area(color=color, opacity=0.22)
    encoded: alt.Chart = chart.encode(x=_x(rows), y=_y("low", domain), y2="high:Q")
    return encoded


def _line_layer(rows: list[Row], color: str, domain: tuple[float, float]) -> alt.Chart:
    chart = _chart(rows).mark_line(color=color, strokeDash=[4, 3], strokeWidth=1.5)
    encoded: alt.Chart = chart.encode(x=_x(rows), y=_y("value", domain))
    return encoded


def _point_layer(rows: list[Row], color: str, domain: tuple[float, float]) -> alt.Chart:
    chart = _chart(rows).mark_point(color=color, filled=True, size=34, opacity=1)
    encoded: alt.Chart = chart.encode(x=_x(rows), y=_y("value", domain), description="told:N")
    return encoded


def _domain(tables: Sequence[list[Row]]) -> tuple[float, float] | None:
    """Half a decade around everything that is drawn; at least two decades, so that noise does not look like a trend."""
    values = [row[key] for rows in tables for row in rows for key in ("value", "low", "high") if key in row]
    if not values:
        return None
    low, high = math.log10(min(values)) - 0.5, math.log10(max(values)) + 0.5
    slack = max(0.0, 2.0 - (high - low)) / 2
    return 10 ** (low - slack), 10 ** (high + slack)


def _svg(layers: list[alt.Chart]) -> str:
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, background="transparent")
    # `configure` begins the configuration anew: it comes first.
    chart = chart.configure(font="system-ui, sans-serif").configure_view(stroke=None)
    chart = chart.configure_axis(
        labelColor=INK, titleColor=INK, domainColor=GRID, tickColor=GRID, gridColor=GRID, labelFontSize=11,
        titleFontSize=11, titleFontWeight="normal", titlePadding=8,
    )  # fmt: skip
    return _themed(vl_convert.vegalite_to_svg(chart.to_dict(), vl_version="v6.1"))


def _themed(svg: str) -> str:
    """The SVG with the page's colours, as wide as the page lets it be."""
    for color, variable in VARIABLES.items():
        svg = svg.replace(f'"{color}"', f'"var({variable})"')
    # A point says what it is when the pointer rests on it, without a script.
    return re.sub(r'(<path aria-label="([^"]*)" role="graphics-symbol"[^>]*)/>', r"\1><title>\2</title></path>", svg)


def signal_chart(pairs: Sequence[Pair], direction: Literal["forward", "backward"]) -> str | None:
    """Return the chart as SVG, or None where there is nothing positive to draw.

    Args:
        pairs: the layers.
        direction: ``"forward"`` draws q, its band, and q(1 - c); ``"backward"`` draws grad_q and its band.

    >>> signal_chart([], "forward") is None
    True
    """
    match direction:
        case "forward":
            bands = [(_bands(pairs, lambda p: (p.predicted.q_low, p.predicted.q_high)), Q)]
            lines = [(_points(pairs, lambda p: p.predicted.signal, "predicted signal"), SIGNAL)]
            points = [
                (_points(pairs, lambda p: p.measured.q, "q"), Q),
                (_points(pairs, lambda p: p.measured.signal, "signal"), SIGNAL),
            ]
        case "backward":
            bands = [(_bands(pairs, lambda p: (p.predicted.grad_q_low, p.predicted.grad_q_high)), GRAD)]
            lines = []
            points = [(_points(pairs, lambda p: p.measured.grad_q, "grad_q"), GRAD)]
        case _:
            raise AssertionError(direction)
    domain = _domain([rows for rows, _ in (*bands, *lines, *points)])
    if domain is None:
        return None
    layers = [_band_layer(rows, color, domain) for rows, color in bands if rows]
    layers += [_line_layer(rows, color, domain) for rows, color in lines if rows]
    layers += [_point_layer(rows, color, domain) for rows, color in points if rows]
    return _svg(layers)
