"""What the studies' pictures share: predictions as lines, measurements as points with standard errors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import altair as alt

Row = dict[str, Any]


def point(x: float | str, mean: float, error: float, of: str) -> Row:
    """Return a measured row, its bar two standard errors long.

    >>> point(1, 2.0, 0.5, "he")["low"]
    1.5
    """
    error = error if error == error else 0.0
    return {"x": x, "y": mean, "low": mean - error, "high": mean + error, "of": of}


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
        y_log: whether the vertical axis is; rows that are not above 0 are left out.
        legend: its title.
        width: of the panel.

    >>> panel("t", x="depth", y="q", points=[point(1, 2.0, 0.5, "he")]).to_dict()["title"]
    't'
    """
    predicted, measured = ([r for r in rows if not y_log or r["y"] > 0] for rows in (lines, points))
    for row in measured:
        row["low"] = max(row["low"], 1e-3 * row["y"]) if y_log else row["low"]
    names = list(dict.fromkeys(row["of"] for row in [*predicted, *measured]))
    color = alt.Color("of:N", title=legend or None, scale=alt.Scale(domain=names))
    across = alt.X(
        "x:Q", title=x, scale=alt.Scale(type="log" if x_log else "linear", zero=False), axis=alt.Axis(tickCount=6)
    )
    format_ = "~g" if y_log else "~r"
    up = alt.Y(
        "y:Q",
        title=y,
        scale=alt.Scale(type="log" if y_log else "linear", zero=False),
        axis=alt.Axis(format=format_, tickCount=6),
    )
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
