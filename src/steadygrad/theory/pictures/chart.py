"""Marks that the pictures share: lines over named columns, with their scales."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

Rows = Iterable[Mapping[str, Any]]


def lines(
    rows: Rows,
    *,
    x: str,
    y: str,
    color: str | None = None,
    x_log: bool = False,
    y_log: bool = False,
    dash: bool = False,
    points: bool = False,
) -> alt.Chart:
    """Return lines (or points) over two columns of rows, coloured by a third.

    >>> lines([{"q": 1.0, "V": 2.0}], x="q", y="V").to_dict()["mark"]["type"]
    'line'
    """
    import altair as alt

    chart = alt.Chart({"values": list(rows)})
    marked = (
        chart.mark_point(filled=True, size=45) if points else chart.mark_line(strokeDash=[4, 3] if dash else [1, 0])
    )
    encoding = {"x": _axis(alt.X, x, x_log), "y": _axis(alt.Y, y, y_log)}
    if color:
        encoding["color"] = alt.Color(f"{color}:N", title=color, sort=None)
    finished: alt.Chart = marked.encode(**encoding).properties(width=360, height=240)
    return finished


def _axis(kind: Any, name: str, log: bool) -> Any:
    import altair as alt

    scale = alt.Scale(type="log") if log else alt.Scale(zero=False)
    axis = alt.Axis(format="~g", tickCount=6) if log else alt.Axis(tickCount=6)
    return kind(f"{name}:Q", title=name, scale=scale, axis=axis)


def titled(*layers: alt.Chart, title: str) -> alt.LayerChart:
    """Return the layers on top of each other, with a title.

    >>> titled(lines([{"x": 0, "y": 0}], x="x", y="y"), title="empty").to_dict()["title"]
    'empty'
    """
    import altair as alt

    return alt.LayerChart(layer=list(layers), title=title)
