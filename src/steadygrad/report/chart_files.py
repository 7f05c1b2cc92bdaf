"""An Altair chart as SVG in a page's own colours, and as SVG and PNG files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from steadygrad.report.saving import save

# Stand-ins that a page replaces by its variables, a file by the light theme's colours.
_INK, _GRID = "#010101", "#020202"
_VARIABLES = {_INK: "var(--ink-soft)", _GRID: "var(--line)"}
_LIGHT = {_INK: "#5b6570", _GRID: "#dfe3e8"}
_VERSION = "v6.1"


def themed_svg(chart: alt.TopLevelMixin) -> str:
    """Return the chart as SVG whose axes have the page's colours, light and dark.

    >>> "var(--ink-soft)" in themed_svg(alt.Chart({"values": [{"a": 1}]}).mark_point().encode(x="a:Q"))
    True
    """
    return _colored(vl_convert.vegalite_to_svg(_styled(chart, "transparent"), vl_version=_VERSION), _VARIABLES)


def svg_and_png(chart: alt.TopLevelMixin) -> tuple[str, bytes]:
    """Return the chart on white, as SVG and as PNG of twice its size.

    >>> svg, png = svg_and_png(alt.Chart({"values": [{"a": 1}]}).mark_point().encode(x="a:Q"))
    >>> svg[:4], png[1:4]
    ('<svg', b'PNG')
    """
    drawn = _colored(vl_convert.vegalite_to_svg(_styled(chart, "white"), vl_version=_VERSION), _LIGHT)
    svg = re.sub(r"<[^>]+>", lambda tag: _smaller(tag[0]), drawn)
    return svg, vl_convert.svg_to_png(svg, scale=2.0)


def save_chart(chart: alt.TopLevelMixin, stem: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write the chart as STEM.svg and STEM.png, on white, and return their paths.

    >>> import tempfile
    >>> made = save_chart(alt.Chart({"values": [{"a": 1}]}).mark_point().encode(x="a:Q"), tempfile.mkdtemp() + "/a")
    >>> [path.name for path in made]
    ['a.svg', 'a.png']
    """
    svg, raster = svg_and_png(chart)
    png = Path(f"{stem}.png")
    part = png.with_suffix(".png.part")
    part.write_bytes(raster)
    part.replace(png)
    return save(f"{stem}.svg", svg), png


def _smaller(tag: str) -> str:
    """The tag without its labels, which no image element reads to anyone, in hundredths of a pixel; texts stay.

    >>> _smaller('<path aria-label="depth: 1" d="M0.12345,2"/>')
    '<path d="M0.12,2"/>'
    """
    return re.sub(r"(\d\.\d\d)\d+", r"\1", re.sub(r' (?:aria-[a-z]+|role)="[^"]*"', "", tag))


def _styled(chart: Any, background: str) -> dict[str, Any]:
    # `configure` begins the configuration anew: it comes first.
    chart = chart.properties(background=background).configure(font="Helvetica, Arial, sans-serif")
    chart = chart.configure_axis(
        labelColor=_INK, titleColor=_INK, domainColor=_GRID, tickColor=_GRID, gridColor=_GRID, titleFontWeight="normal"
    )
    chart = chart.configure_legend(labelColor=_INK, titleColor=_INK, labelLimit=300)
    styled: dict[str, Any] = chart.configure_title(color=_INK).configure_view(stroke=None).to_dict()
    return styled


def _colored(svg: str, colors: dict[str, str]) -> str:
    for stand_in, color in colors.items():
        svg = svg.replace(f'"{stand_in}"', f'"{color}"')
    return svg
