"""From a study's sections to its page, its pictures and its conclusion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from steadygrad.report.chart_files import save_chart
from steadygrad.report.saving import save
from steadygrad.report.study_page import Section, render
from steadygrad.study.bench import Conclusion


def conclude(name: str, title: str, sections: Sequence[Section], out: Path) -> Conclusion:
    """Write NAME.html and every picture as SVG and PNG into `out`, and return what was found.

    >>> import tempfile
    >>> [file.name for file in conclude("empty", "Nothing", [], Path(tempfile.mkdtemp())).files]
    ['empty.html']
    """
    out.mkdir(parents=True, exist_ok=True)
    pictures = [path for section in sections for path in save_chart(section.chart, out / section.name)]
    page = save(out / f"{name}.html", render(title, sections))
    return Conclusion(
        sentences=tuple(section.sentence for section in sections),
        holds=all(section.holds for section in sections),
        files=(page, *pictures),
    )
