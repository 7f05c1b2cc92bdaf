"""What the studies' pictures share: predictions as lines, measurements as points with standard errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import altair as alt

Row = dict[str, Any]

# Powers of ten where zeros would have to be counted.
_NUMBER = (
    "datum.value != 0 && (abs(datum.value) < 1e-3 || abs(datum.value) >= 1e5)"
    " ? format(datum.value, '.0e') : format(datum.value, '~r')"
)
# On a logarithmic axis 1, 2, 3 and 5 of each power have room.
_LABELLED = "indexof([1, 2, 3, 5], round(datum.value / pow(10, floor(log(datum.value) / LN10 + 1e-9)))) >= 0"
# Less than this from end to end, and a logarithmic axis has no more marks than a linear one: all are labelled.
_NARROW = 3.0
# What stands at the end of an axis is drawn whole.
_PADDING = 8


def _scale(*, log: bool, empty: bool) -> alt.Scale:
    kind: Literal["log", "linear"] = "log" if log else "linear"
    if empty:  # no rows, no extent: the picture would have none either
        return alt.Scale(type=kind, domain=[1, 10])
    return alt.Scale(type=kind, zero=False, nice=False, padding=_PADDING)


def point(x: float | str, mean: float, error: float, of: str) -> Row:
    """Return a measured row, its bar two standard errors long.

    >>> point(1, 2.0, 0.5, "he")["low"]
    1.5
    """
    error = error if error == error else 0.0
    return {"x": x, "y": mean, "low": mean - error, "high": mean + error, "of": of}


def _axis(values: Sequence[float], *, log: bool) -> alt.Axis:
    wide = log and max(values, default=1.0) > _NARROW * min(values, default=1.0)
    return alt.Axis(tickCount=6, labelExpr=f"{_LABELLED} ? ({_NUMBER}) : ''" if wide else _NUMBER)


def _drawn(y: float, *, log: bool) -> bool:
    return math.isfinite(y) and (y > 0 or not log)


def panel(
    title: str,
    *,
    x: str,
    y: str,
    lines: Iterable[Row] = (),
    points: Iterable[Row] = (),
    x_log: bool = False,
    y_log: bool = False,
    legend: str = "",
    width: int = 280,
) -> alt.LayerChart:
    """Return lines {x, y, of} and points {x, y, low, high, of} over one pair of axes.

    Args:
        title: of the panel.
        x: what the horizontal axis shows.
        y: what the vertical axis shows.
        lines: predictions.
        points: measurements.
        x_log: whether the horizontal axis is logarithmic.
        y_log: whether the vertical axis is; rows that are not above 0 are left out, as are those not finite.
        legend: its title.
        width: of the panel.

    >>> panel("t", x="depth", y="q", points=[point(1, 2.0, 0.5, "he")]).to_dict()["title"]
    't'
    """
    predicted, measured = ([r for r in rows if _drawn(r["y"], log=y_log)] for rows in (lines, points))
    empty = not predicted and not measured
    for row in measured:
        row["low"] = max(row["low"], 1e-3 * row["y"]) if y_log else row["low"]
    rows = [*predicted, *measured]
    names = list(dict.fromkeys(row["of"] for row in rows))
    key = None if empty else alt.Undefined  # a legend without entries or title has no size, nor has the picture then
    color = alt.Color("of:N", title=legend or None, scale=alt.Scale(domain=names), legend=key)
    xs, ys = [row["x"] for row in rows], [row["y"] for row in rows]
    across = alt.X("x:Q", title=x, scale=_scale(log=x_log, empty=empty), axis=_axis(xs, log=x_log))
    up = alt.Y("y:Q", title=y, scale=_scale(log=y_log, empty=empty), axis=_axis(ys, log=y_log))
    line = alt.Chart({"values": predicted}).mark_line().encode(x=across, y=up, color=color)
    base = alt.Chart({"values": measured}).encode(x=across, color=color)
    layers = [line, base.mark_rule().encode(y=alt.Y("low:Q", title=y), y2="high:Q")]
    layers.append(base.mark_point(filled=True, size=40, opacity=1).encode(y=up))
    stacked: alt.LayerChart = alt.LayerChart(layer=layers).properties(width=width, height=210, title=title)
    return stacked


def beside(*panels: Any) -> alt.HConcatChart:
    """Return panels side by side, each with its own colours.

    >>> len(beside(panel("a", x="x", y="y"), panel("b", x="x", y="y")).hconcat)
    2
    """
    pair: alt.HConcatChart = alt.hconcat(*panels).resolve_scale(color="independent")
    return pair


def below(*rows: Any) -> alt.VConcatChart:
    """Return charts below each other.

    >>> len(below(panel("a", x="x", y="y")).vconcat)
    1
    """
    stack: alt.VConcatChart = alt.vconcat(*rows).resolve_scale(color="independent")
    return stack
