"""What is given wrongly is refused in one line, before anything is changed."""

import pytest
import torch
from torch import nn

from steadygrad.errors import UserCodeError
from steadygrad.remedies import Reviver, convert_, revive_

X = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))


def dead():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    model[0].bias.data[:5] = -100.0
    return model


BAD = {
    "optimizer": (lambda model: revive_(model, [X], optimizer="adam"), TypeError, "`optimizer` must be a torch.optim"),
    "reviver": (lambda model: Reviver(model, "adam"), TypeError, "`optimizer` must be a torch.optim"),
    "model": (lambda _: revive_("model", [X]), TypeError, "`model` must be a torch.nn.Module, got 'model'"),
    "convert": (lambda _: convert_(3, to="leaky_relu"), TypeError, "`model` must be a torch.nn.Module, got 3"),
    "width": (lambda model: revive_(model, [X[:, :3]]), UserCodeError, "the model raised RuntimeError: mat1 and mat2"),
    "mapping": (lambda model: revive_(model, [{"x": X}]), UserCodeError, "the model raised"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_line_and_nothing_is_changed(name):
    act, error, words = BAD[name]
    model = dead()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(error, match=words) as caught:
        act(model)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not model._forward_pre_hooks


def test_a_loader_s_lists_are_batches():
    model = dead()
    (revival,) = revive_(model, [[X, torch.zeros(16)]])
    assert revival.revived
