"""Every built-in study has a page, with the command that makes it and small pictures that exist."""

import re
from pathlib import Path

import pytest

from steadygrad.study import STUDIES, Bench
from steadygrad.study.builtin import phase_diagram
from steadygrad.study.builtin.depths import decay, effort, reach

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


class Counted(Exception):
    """In place of training: how many networks there would be."""


class Counting(Bench):
    def run(self, spec):
        raise Counted(len(list(spec.points())))


def counted(section, *arguments):
    with pytest.raises(Counted) as networks:
        section(Counting(out="nowhere"), *arguments)
    return networks.value.args[0]


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("phase-diagram", [(phase_diagram.study,)]),
        ("trainable-depth", [(decay.section, effort.FULL), (reach.section, effort.FULL)]),
    ],
)
def test_the_index_says_how_many_networks_are_trained(name, sections):
    index = (DOCS / "studies" / "index.md").read_text()
    said = re.search(rf"^\| \[`{name}`\].* \| (\d+) \| \d+ s \|$", index, re.MULTILINE)
    assert int(said[1]) == sum(counted(*section) for section in sections)


def test_the_index_and_the_guide_name_every_study_and_no_other():
    index = (DOCS / "studies" / "index.md").read_text()
    assert set(re.findall(r"^\| \[`([\w-]+)`\]", index, re.MULTILINE)) == set(STUDIES)
    guide = (DOCS / "guides" / "study.md").read_text().split("## Studies that are built in")[1].split("##")[0]
    assert set(re.findall(r"`([a-z-]+)`", guide)) == set(STUDIES)
