"""The order of the parts, as pyproject.toml states it, holds in the imports."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "steadygrad"
ORDER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["layers"]["order"]
LAYER = {part: i for i, parts in enumerate(ORDER) for part in parts}
FILES = sorted(PACKAGE.rglob("*.py"))


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file: Path) -> set[str]:
    """The parts of the package that a file imports, at any depth of its code."""
    here = ["steadygrad", *file.relative_to(PACKAGE).parts[:-1]]
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            stem = ".".join([*here[: len(here) - node.level + 1], *filter(None, [node.module])])
            stem = stem if node.level else node.module or ""
            names |= {f"{stem}.{alias.name}" for alias in node.names}
    return {n.split(".")[1] for n in names if n.startswith("steadygrad.")}


def violations(part: str, imports: set[str]) -> set[str]:
    """What a part may not import: its siblings and whatever stands to its right."""
    return {other for other in imports - {part} if LAYER[other] >= LAYER[part]}


@pytest.mark.parametrize("file", [f for f in FILES if not part_of(f).startswith("__")], ids=lambda f: f.stem)
def test_a_module_imports_only_from_the_left_of_itself(file):
    assert part_of(file) in LAYER, "the part has no layer in [tool.layers]"
    assert not violations(part_of(file), imported(file))


def test_the_rule_sees_a_violation():
    assert violations("theory", {"report"}) == {"report"}
    assert violations("theory", {"numerics"}) == {"numerics"}
    assert not violations("report", {"profile", "errors"})


def test_guard_imports_errors_and_finding_alone():
    guard = [f for f in FILES if part_of(f) == "guard"]
    assert all(imported(f) <= {"guard", "errors", "finding"} for f in guard)


def test_theory_never_imports_torch():
    theory = [f for f in FILES if part_of(f) == "theory"]
    assert all("torch" not in f.read_text().split() for f in theory)
