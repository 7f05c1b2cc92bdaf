"""The code of the guide to initialization runs as it stands there, block after block."""

import re
from pathlib import Path

from steadygrad import init

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "init.md").read_text()


def test_the_code_runs(capsys):
    names: dict = {}
    for code in re.findall(r"```python\n(.*?)```", GUIDE, re.S):
        exec(code, names)
    assert 'Plan "critical": 6 parameters' in capsys.readouterr().out


def test_every_initializer_is_named():
    public = [name for name in vars(init) if name.endswith("_") and not name.startswith("_")]
    assert len(public) == 17
    assert [name for name in public if f"`{name}`" not in GUIDE] == []
