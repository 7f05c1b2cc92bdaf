"""Reading a setup from a file: each way to fail says what was wrong, and nothing is left behind."""

import sys

import pytest

from steadygrad.errors import SetupError, UserCodeError
from steadygrad.setup import load

MODEL = "from torch import nn\n"


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.py"):
        (tmp_path / name).write_text(MODEL + text)
        return str(tmp_path / name)

    return write


def test_the_default_name_and_a_given_one(write):
    file = write("def setup():\n    return nn.Linear(2, 1)\ndef other():\n    return {'model': nn.Linear(5, 1)}\n")
    assert load(file).model.in_features == 2
    assert load(f"{file}:other").model.in_features == 5


def test_a_class_of_a_module_is_a_function_that_returns_one(write):
    file = write("class Net(nn.Linear):\n    def __init__(self):\n        super().__init__(2, 1)\n")
    assert load(f"{file}:Net").model.in_features == 2


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        (
            "def setup(): pass",
            "setpu",
            r"mine.py must define the function to check, got no 'setpu' in it. Did you mean 'setup'\?",
        ),
        ("setup = 3", "setup", "must be a function that returns a setup, got int"),
        ("setup = nn.Linear(2, 1)", "setup", "must be a function that returns a setup, got Linear"),
        ("def setup(width, *, depth, seed=0): pass", "setup", "without arguments, got one that needs `width`, `depth`"),
        ("def setup(): return None", "setup", "a module, a Setup or a mapping.*got NoneType. It came from `setup`"),
        ("def setup(): return nn.ReLU()", "setup", "at least one parameter, got ReLU without any. It came from"),
        ("def setup(): return nn.Linear(2, 1)", "a b", "must be a Python name, got 'a b'"),
    ],
)
def test_what_is_wrong_with_the_name_or_the_setup(write, text, name, words):
    with pytest.raises(SetupError, match=words):
        load(f"{write(text)}:{name}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "def setup():\n    return helper()\ndef helper():\n    raise KeyError('width')",
            r"KeyError: 'width' \(.*:5\)",
        ),
        ("def setup():\n    return nn.Linear(2, 'a')", r"`setup` raised TypeError: .*mine.py:3\)"),
        ("import no_such_module", r"ModuleNotFoundError: No module named 'no_such_module' \(.*mine.py:2\)"),
        ("def setup(:", r"SyntaxError: .*mine.py:2\)"),
        ("raise SystemExit('stop')", r"SystemExit: stop \(.*mine.py:2\)"),
    ],
)
def test_the_users_own_error_with_its_line(write, text, words):
    with pytest.raises(UserCodeError, match=words) as caught:
        load(write(text))
    assert caught.value.__cause__ is not None
    assert "\n" not in str(caught.value)


def test_no_such_file_offers_the_nearest(write):
    file = write("")
    with pytest.raises(SetupError, match=r"existing Python file, got '.*/mien.py'. Did you mean '.*/mine.py'\?"):
        load(file.replace("mine", "mien"))


@pytest.mark.parametrize("spec", ["", ".", "README.md", "no/such/folder.py", "x.py:"])
def test_what_is_no_python_file(spec):
    with pytest.raises(SetupError, match="must be"):
        load(spec)


@pytest.mark.parametrize("text", ["import neighbour\ndef setup(): return neighbour.model()", "raise ValueError"])
def test_neighbours_are_found_and_the_path_is_put_back(write, text):
    write("def model(): return nn.Linear(3, 1)", "neighbour.py")
    file, path, names = write(text), list(sys.path), set(sys.modules)
    try:
        assert load(file).model.in_features == 3
    except UserCodeError:
        assert "neighbour" not in text
    assert sys.path == path
    assert set(sys.modules) - names <= {"neighbour"}
    sys.modules.pop("neighbour", None)


def test_a_file_may_have_the_name_of_a_module_of_the_standard_library(write):
    file = write("import json\ndef setup():\n    json.dumps({})\n    return nn.Linear(2, 1)\n", "random.py")
    assert load(file).model.in_features == 2
