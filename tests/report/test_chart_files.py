"""A chart's files: what stands on its axes is what was drawn, and the marks lie where they lay."""

import re

import altair as alt
import pytest

from steadygrad.report.chart_files import save_chart, themed_svg


@pytest.fixture
def chart():
    values = [{"x": i, "y": 10.0**-i} for i in range(9)]
    axis = alt.Axis(format="~g")
    return alt.Chart({"values": values}).mark_point().encode(x="x:Q", y=alt.Y("y:Q", axis=axis).scale(type="log"))


def texts(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_a_file_says_what_the_page_says(chart, tmp_path):
    svg, png = save_chart(chart, tmp_path / "chart")
    assert texts(svg.read_text()) == texts(themed_svg(chart))
    assert "0.001" in texts(svg.read_text())
    assert png.read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("*.part"))


def test_a_file_is_smaller_and_has_every_mark(chart, tmp_path):
    svg, page = save_chart(chart, tmp_path / "chart")[0].read_text(), themed_svg(chart)
    assert len(svg) < len(page)
    assert svg.count("<path") == page.count("<path")
