"""Data of studies: split in a fixed order, standardized as a whole; what cannot be had is said."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from steadygrad.errors import SetupError, UserCodeError
from steadygrad.study import Point, train
from steadygrad.study.data import DATASETS, Data, load, split
from steadygrad.study.population.draw import draw


@pytest.mark.parametrize("name", DATASETS)
def test_data_come_standardized_and_apart(name):
    data = load(name)
    entries = data.inputs.numel()
    assert abs(data.inputs.mean().item()) < 5 / entries**0.5
    assert data.inputs.square().mean().item() == pytest.approx(1.0, abs=5 * (2 / entries) ** 0.5)
    assert data.classes
    assert torch.equal(data.targets.sum(1), torch.ones(len(data.targets), dtype=data.targets.dtype))
    held_out = {row.numpy().tobytes() for row in data.test_inputs}
    # digits holds a few images twice
    assert sum(row.numpy().tobytes() in held_out for row in data.inputs) <= 1


def test_targets_that_are_no_classes_are_kept():
    data = split(np.arange(20.0).reshape(10, 2), np.linspace(0, 1, 10))
    assert not data.classes
    assert data.targets.shape == (8, 1)
    assert sorted(torch.cat([data.targets, data.test_targets]).flatten().tolist()) == pytest.approx(
        np.linspace(0, 1, 10)
    )


def test_a_file_with_its_own_held_out_part_is_taken_as_it_is(tmp_path):
    inputs, targets = np.array([[3.0], [5.0]]), np.array([0, 1])
    np.savez(tmp_path / "d.npz", inputs=inputs, targets=targets, test_inputs=inputs + 1, test_targets=targets)
    data = load(str(tmp_path / "d.npz"))
    assert sorted(data.inputs.flatten().tolist()) == [3.0, 5.0]
    assert sorted(data.test_inputs.flatten().tolist()) == [4.0, 6.0]
    assert data.targets[data.inputs[:, 0] == 5.0].tolist() == [[0.0, 1.0]]


def test_data_that_cannot_be_had(tmp_path):
    np.savez(tmp_path / "half.npz", inputs=np.ones((2, 2)))
    (tmp_path / "text.npz").write_text("no arrays")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "half.npz").read_bytes()[:40])
    for name, words in {
        str(tmp_path / "none.npz"): "cannot be read",
        str(tmp_path / "text.npz"): "cannot be read",
        str(tmp_path / "half.npz"): r"lacks \['targets'\]",
        str(tmp_path / "cut.npz"): "cut.npz' cannot be read: File is not a zip file",
        "nowhere:data": "must name a function of a module",
        "math:pi": "must name a function, got 3.14",
        ":": "must name a function of a module: Empty module name",
        "builtins:dict": "must return Data, got 'dict'",
    }.items():
        with pytest.raises((SetupError, ValueError), match=words):
            load(name)
    with pytest.raises(ValueError, match="Did you mean 'digits'"):
        load("digit")


def test_a_class_below_zero_is_refused():
    with pytest.raises(SetupError, match="`targets` that are whole numbers are classes and must be >= 0, got -1"):
        split(np.ones((4, 2)), np.array([0, 1, -1, 0]))


def test_parts_of_other_lengths_are_refused():
    x, y = torch.ones(3, 2), torch.ones(2, 1)
    with pytest.raises(ValueError, match="`inputs` and `targets` must be"):
        Data(inputs=x, targets=y, test_inputs=x, test_targets=x)
    with pytest.raises(ValueError, match="`test_inputs` and `test_targets` must be"):
        Data(inputs=x, targets=x, test_inputs=x[:0], test_targets=x[:0])
    with pytest.raises(ValueError, match="as many columns as `inputs` and `targets`, 2 and 2, got 1 and 2"):
        Data(inputs=x, targets=x, test_inputs=x[:, :1], test_targets=x)


INPUTS, CLASSES = np.random.default_rng(0).normal(size=(10, 3)), np.arange(10) % 2
UNUSABLE = {
    "not a number": ({"inputs": np.where(INPUTS > 1, np.nan, INPUTS)}, "`inputs` must be finite, got NaN or infinity"),
    "infinite": ({"targets": np.full(10, np.inf)}, "`targets` must be finite"),
    "too many": (
        {"targets": np.arange(12) % 2},
        r"`targets` must be as many as `inputs`, at least two, got \(10, 12\)",
    ),
    "too few": ({"targets": CLASSES[:9]}, r"`targets` must be as many as `inputs`, at least two, got \(10, 9\)"),
    "none": ({"inputs": INPUTS[:0], "targets": CLASSES[:0]}, r"at least two, got \(0, 0\)"),
    "no rows": ({"inputs": np.array(3.0)}, "`inputs` must be an example a row, got 3.0"),
    "text": ({"targets": np.array(["a", "b"] * 5)}, "`targets` must be real numbers, got '<U1'"),
    "complex": ({"inputs": INPUTS + 1j}, "`inputs` must be real numbers, got 'complex128'"),
    "half held out": ({"test_inputs": INPUTS}, "`test_inputs` and `test_targets` go together, got test_inputs alone"),
    "held out without a row": ({"test_inputs": INPUTS[:0], "test_targets": CLASSES[:0]}, "at least one example"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_arrays_that_cannot_be_learned_from_are_said_with_their_file(case, tmp_path):
    arrays, words = UNUSABLE[case]
    np.savez(tmp_path / "d.npz", **{"inputs": INPUTS, "targets": CLASSES} | arrays)
    with pytest.raises(SetupError, match=rf"d.npz'.*: .*{words}"):
        load(str(tmp_path / "d.npz"))


def test_truth_values_are_two_classes_and_many_classes_take_no_square_of_memory():
    assert split(INPUTS, CLASSES == 1).targets.shape == (8, 2)
    assert split(INPUTS, CLASSES + 10**5).targets.shape == (8, 10**5 + 2)


def test_a_function_beside_the_spec_is_found_and_its_error_is_placed(tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text(
        "import numpy as np\nfrom steadygrad.study import split\n"
        "def good(): return split(np.eye(4), np.arange(4))\ndef bad(): raise KeyError('disk')\n"
    )
    monkeypatch.chdir(tmp_path)
    path = [entry for entry in sys.path if entry not in ("", str(tmp_path))]
    monkeypatch.setattr(sys, "path", path)  # as the installed command has it
    assert load("beside:good").inputs.shape == (3, 4)
    with pytest.raises(UserCodeError, match=r"`data` 'beside:bad' raised KeyError: 'disk' \(beside.py:4\)"):
        load("beside:bad")
    assert sys.path == path


@pytest.mark.parametrize("targets", [INPUTS[:, :1], CLASSES[:, None], CLASSES.astype(float), INPUTS])
def test_cross_entropy_of_what_is_no_probability_is_refused(targets):
    data = split(INPUTS, targets)
    point = Point(depth=1, width=4, activation="tanh", steps=3)
    with pytest.raises(SetupError, match="'cross-entropy' needs targets that are classes"):
        train([point], data=data)
    assert train([replace(point, loss="mse")], data=data)[0].steps_done == 3


def test_cross_entropy_of_probabilities_is_that_of_torch():
    soft = np.random.default_rng(1).dirichlet(np.ones(3), size=10)
    point = Point(depth=1, width=4, activation="tanh", steps=0, dtype="float64")
    data = split(INPUTS, soft)
    (w, b), (u, c) = draw(point, 3, 3)
    logits = torch.tanh(data.inputs @ w.T + b) @ u.T + c
    expected = torch.nn.functional.cross_entropy(logits, data.targets).item()
    assert train([point], data=data)[0].train_loss == pytest.approx(expected, rel=1e-9)
