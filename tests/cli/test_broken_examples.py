"""The broken models in examples/broken are diagnosed as their page shows."""

import re
import sys
from pathlib import Path

import pytest

from steadygrad import cli

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "examples" / "broken" / "README.md").read_text()
BLOCKS = dict(re.findall(r"<!-- findings: (.*?) -->\n```text\n(.*?)\n```", PAGE, re.S))


@pytest.mark.parametrize("command", BLOCKS)
def test_the_findings_are_those_of_the_page(command, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "argv", ["steadygrad", *command.split()])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    assert capsys.readouterr().out.startswith(BLOCKS[command] + "\n\n")


def test_every_broken_example_is_on_the_page():
    files = {f"check examples/broken/{file.name}" for file in (ROOT / "examples" / "broken").glob("*.py")}
    assert set(BLOCKS) == files
