"""The README's blocks are what the commands print.

Figures that rest on the last bits of a sum may differ between processors in their last digit: they are compared as
numbers, everything else as it stands.
"""

import re
import sys
from pathlib import Path

import pytest

from steadygrad import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = dict(re.findall(r"<!-- output: (.*?) -->\n```text\n(.*?)```", README, re.S))
NUMBER = re.compile(r"(?<![\w'])\d+\.?\d*(?:e-?\d+)?")


def printed(command, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "argv", ["steadygrad", *command.split()])
    with pytest.raises(SystemExit):
        cli.main()
    return capsys.readouterr().out


def test_the_example_from_python_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out
    assert (tmp_path / "report.html").stat().st_size > 0


def test_the_readme_shows_both_commands():
    assert {command.split()[0] for command in BLOCKS} == {"check", "explain"}


@pytest.mark.parametrize("command", BLOCKS)
def test_a_block_is_what_the_command_prints(command, monkeypatch, capsys):
    shown, now = BLOCKS[command], printed(command, monkeypatch, capsys)
    # Columns are as wide as their longest number: a digit more or less moves the blanks and the rule.
    words, today = (re.sub(r"[\s─]+", " ", NUMBER.sub("#", text)) for text in (shown, now))
    assert words == today
    # Findings name the floor of what rounding leaves; the table shows what was measured, noise and all.
    (said, table), (said_today, table_today) = (
        re.split(r"^layer +kind", text + "\nlayer kind", maxsplit=1, flags=re.M)[:2] for text in (shown, now)
    )
    assert alike(said, said_today)
    assert alike(table, table_today, noise=1e-14)


def alike(shown, now, noise=0.0):
    """What has vanished below single precision's rounding (2^-46 of the signal) is noise, on each machine another."""
    numbers, todays = ([float(n) for n in NUMBER.findall(text)] for text in (shown, now))
    kept = [(a, b) for a, b in zip(numbers, todays, strict=True) if a > noise or a == 0]
    return all(b == pytest.approx(a, rel=0.06, abs=0) for a, b in kept)
