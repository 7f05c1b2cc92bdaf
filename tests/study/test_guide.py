"""The guide says what there is: its grid is the example's, its keys are all keys, its code runs."""

import re
from pathlib import Path

from steadygrad.study import Spec
from steadygrad.study.point import FIELDS

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "study.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def test_the_grid_of_the_guide_is_the_example():
    (guide,) = blocks("toml")
    assert Spec.from_toml(guide).identity == Spec.read(ROOT / "examples" / "depth_and_scale.toml").identity


def test_every_key_is_named():
    assert {field for field in FIELDS if f"`{field}`" not in GUIDE} == {"seed"}


def test_the_code_runs(capsys):
    (code,) = blocks("python")
    exec(compile(code, "study.md", "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said[:2]] == ["xavier-normal", "he-normal"]
    assert len(said[2].split(",")) == 6
