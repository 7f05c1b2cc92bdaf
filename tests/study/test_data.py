"""Data of studies: split in a fixed order, standardized as a whole; what cannot be had is said."""

import numpy as np
import pytest
import torch

from steadygrad.errors import SetupError
from steadygrad.study.data import DATASETS, Data, load, split


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
    for name, words in {
        str(tmp_path / "none.npz"): "cannot be read",
        str(tmp_path / "text.npz"): "cannot be read",
        str(tmp_path / "half.npz"): r"lacks \['targets'\]",
        "nowhere:data": "must name a function of a module",
        "math:pi": "must name a function, got 3.14",
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
