"""The public names: what is listed loads, is what type checkers see, and stays itself beside modules of its name."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import steadygrad
from steadygrad import theory
from steadygrad.lazy_names import lazy_names

PACKAGES = [steadygrad, theory]
by_name = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)


def shown_to_type_checkers(package):
    """The names under `if TYPE_CHECKING:`, each with the submodule that it comes from."""
    (block,) = [n for n in ast.parse(Path(package.__file__).read_text()).body if isinstance(n, ast.If)]
    return {alias.asname: node.module for node in block.body for alias in node.names}


@by_name
def test_what_is_listed_is_what_type_checkers_see_and_what_loads(package):
    shown = shown_to_type_checkers(package)
    assert set(package.__all__) == set(shown)
    assert len(package.__all__) == len(shown)
    for name, home in shown.items():
        module = importlib.import_module(f"{package.__name__}.{home or name}")
        assert getattr(package, name) is (getattr(module, name) if home else module)
    assert set(package.__all__) <= set(dir(package))


@by_name
def test_a_name_that_is_not_there_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
        package.nothing  # noqa: B018


def test_functions_stay_functions_beside_the_modules_of_their_names():
    """In a fresh Python, where the submodules are imported before the names are asked for."""
    code = (
        "import steadygrad.theory.mlp, steadygrad.theory.gain, steadygrad.diagnosis.check, steadygrad as sg\n"
        "from steadygrad.theory import gain, moments\n"
        "print(*(type(f).__name__ for f in (sg.theory.mlp, sg.theory.gain, gain, moments, sg.check, sg.predict)))\n"
        "print(type(sg.init).__name__, type(sg.theory).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["function"] * 6 + ["module", "LazyPackage"]


def test_a_submodule_without_its_name_is_loud(monkeypatch):
    made = ModuleType("made")
    monkeypatch.setitem(sys.modules, "made", made)
    monkeypatch.setitem(sys.modules, "made.gain", ModuleType("made.gain"))
    lazy_names("made", {"gain": ("gain",)})
    with pytest.raises(AttributeError):
        made.gain  # noqa: B018
    sys.modules["made.gain"].gain = test_a_name_that_is_not_there_is_an_attribute_error
    made.gain = sys.modules["made.gain"]
    assert isinstance(made.gain, FunctionType)


def test_a_name_with_two_homes_is_refused():
    with pytest.raises(ValueError, match="each name once"):
        lazy_names("steadygrad", {"gain": ("gain",), "mlp": ("gain",)})
