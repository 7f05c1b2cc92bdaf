"""`steadygrad study` as a user meets it."""

import re
import sys

import pytest

from steadygrad import cli

SPEC = """
name = "tiny"
seeds = 2
[fixed]
data = "gaussian"
width = 8
activation = "tanh"
steps = 5
[product]
depth = [1, 2]
"""


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    (tmp_path / "spec.toml").write_text(SPEC)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["steadygrad", "study", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return call


def test_a_grid_is_trained_and_goes_on(command, tmp_path):
    status, text, said = command("spec.toml", "--workers", "0")
    assert (status, said) == (0, "")
    lines = text.splitlines()
    assert lines[0] == "tiny: 4 networks, 0 of them diverged."
    assert lines[1].split() == ["depth", "train_loss", "test_loss", "test_accuracy", "diverged"]
    assert [line.split()[0] for line in lines[2:4]] == ["1", "2"]
    assert lines[-1] == "Records: studies/tiny"
    parts = list((tmp_path / "studies" / "tiny").iterdir())
    assert command("spec.toml", "--workers", "0")[1] == text
    assert list((tmp_path / "studies" / "tiny").iterdir()) == parts


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("spec.tmol",), "`study` must be one of .*'SPEC.toml', got 'spec.tmol'"),
        (("none.toml",), "none.toml cannot be read: No such file or directory"),
        (("spec.toml", "--workers", "two"), "`--workers` must be a whole number, got 'two'"),
        (("spec.toml", "--workers", "-1"), "`workers` is a number of processes"),
        (("nothing", "--extend"), "`--extend` is for a SPEC.toml, got 'nothing'"),
        (("born-dead", "--out", "nosuch://x"), "'nosuch://x' is no place to write to: Protocol not known: nosuch"),
        (("born-dead", "--out", "/proc/nothing"), "/proc/nothing cannot be written: No such file or directory"),
        (("born-dead", "--device", "cuda:99"), "`device` must be one that torch has here .*, got 'cuda:99'"),
        (("spec.toml", "--device", "nowhere"), "`device` must be one that torch has here .*, got 'nowhere'"),
        (("binary.toml",), "binary.toml cannot be read: TOML is UTF-8 text, and its byte 0 is not"),
        (("born-dead", "--out", "spec.toml"), "spec.toml cannot be written: File exists"),
    ],
)
def test_what_is_wrong_is_one_line(command, arguments, words):
    status, text, said = command(*arguments)
    assert (status, text) == (2, "")
    assert len(said.splitlines()) == 1
    assert re.search(words, said)


def test_a_wrong_spec_is_said_with_its_line(command, tmp_path):
    (tmp_path / "spec.toml").write_text(SPEC.replace("widht", "width").replace("width", "widht"))
    status, _, said = command("spec.toml")
    assert status == 2
    assert said.startswith("steadygrad: spec.toml:6: `fixed.widht` must be one of")
    assert not (tmp_path / "studies").exists()
