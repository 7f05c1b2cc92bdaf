"""Every built-in study has a page, with the command that makes it and small pictures that exist."""

import re
from pathlib import Path

import pytest

from steadygrad.study import STUDIES

DOCS = Path(__file__).parents[2] / "docs"
SMALL = 200_000  # bytes


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_its_page_its_command_and_its_pictures(name):
    text = (DOCS / "studies" / f"{name}.md").read_text()
    pictures = re.findall(r"\((pictures/[\w-]+\.svg)\)", text)
    assert f"steadygrad study {name}\n" in text
    assert pictures
    for picture in pictures:
        svg = (DOCS / "studies" / picture).read_text()
        assert svg.startswith("<svg")
        assert len(svg) < SMALL


def test_the_index_and_the_guide_name_every_study_and_no_other():
    index = (DOCS / "studies" / "index.md").read_text()
    assert set(re.findall(r"^\| \[`([\w-]+)`\]", index, re.MULTILINE)) == set(STUDIES)
    guide = (DOCS / "guides" / "study.md").read_text().split("## Studies that are built in")[1].split("##")[0]
    assert set(re.findall(r"`([a-z-]+)`", guide)) == set(STUDIES)
