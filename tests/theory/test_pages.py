"""The pages run, show pictures that exist, and the pictures are what their functions draw."""

import doctest
import re
from pathlib import Path

import pytest

from steadygrad import theory

PAGES = sorted((Path(__file__).parents[2] / "docs" / "theory").glob("*.md"))
NUMBERED = [page for page in PAGES if page.name[0].isdigit()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_example_of_a_page_gives_what_it_says(page):
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testfile(str(page), module_relative=False, optionflags=options)
    assert result.failed == 0
    assert result.attempted > 0 or page.stem == "index"


@pytest.mark.parametrize("page", NUMBERED, ids=lambda page: page.stem)
def test_every_page_has_a_picture_a_function_and_a_judgement(page):
    text = page.read_text()
    shown = re.findall(r"\((pictures/[\w-]+\.svg)\)", text)
    assert shown
    assert all((page.parent / name).read_text().startswith("<svg") for name in shown)
    assert text.count("**How far it holds.**") >= text.count("**Statement.**") - 1
    named = re.findall(r"`theory\.(\w+)", text)
    assert named
    assert all(hasattr(theory, name) for name in named)


def test_all_six_sections_have_a_page():
    assert [page.name[0] for page in NUMBERED] == list("123456")
