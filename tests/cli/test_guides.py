"""What the guide to checks shows is read and run as it stands there."""

import re
import tomllib
from pathlib import Path

from steadygrad.diagnosis import Configuration, check

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "check.md").read_text()


def test_the_table_in_the_guide_is_a_configuration():
    (table,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.S)
    settled = Configuration.of(tomllib.loads(table)["tool"]["steadygrad"])
    assert settled.ignore
    assert settled.suppressions
    assert settled.levels


def test_the_code_in_the_guide_runs():
    for code in re.findall(r"```python\n(.*?)```", GUIDE, re.S):
        exec(code, {})


def test_the_setup_with_a_step_of_its_own_is_checked():
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", GUIDE, re.S) if "train_step" in code]
    scope: dict = {}
    exec(code, scope)
    report = check(scope["setup"](), trial=False, select=["OPT"])
    assert report.findings == ()
    assert {"OPT008", "OPT009"} <= set(report.checked)
