"""From a study's sections to its page, its pictures and its conclusion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from steadygrad.report.chart_files import svg_and_png
from steadygrad.report.study_page import Section, render
from steadygrad.store import Place
from steadygrad.study.bench import Conclusion


def conclude(name: str, title: str, sections: Sequence[Section], out: str) -> Conclusion:
    """Write NAME.html and every picture as SVG and PNG into `out`, and return what was found.

    >>> conclude("empty", "Nothing", [], "memory://studies").files
    ('memory://studies/empty.html',)
    """
    place = Place(out)
    place.make()
    pictures = [path for section in sections for path in _pictures(place, section)]
    page = place.write(f"{name}.html", render(title, sections).encode())
    return Conclusion(
        sentences=tuple(section.sentence for section in sections),
        holds=all(section.holds for section in sections),
        files=(page, *pictures),
    )


def _pictures(place: Place, section: Section) -> Iterator[str]:
    svg, png = svg_and_png(section.chart)
    yield place.write(f"{section.name}.svg", svg.encode())
    yield place.write(f"{section.name}.png", png)
