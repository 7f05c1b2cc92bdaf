"""Where the signal is lost at once the module that loses it is named, and only there."""

import pytest
import torch
from torch import nn

from steadygrad import check


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        nn.init.zeros_(self.body[2].weight)
        nn.init.zeros_(self.body[2].bias)

    def forward(self, x):
        return x + self.body(x)


def vanished(model):
    data = [(torch.randn(32, 8), torch.randint(4, (32,)))]
    setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
    return check(setup, select=["FWD001"], trial=False).findings


@pytest.mark.parametrize("layer", [nn.LayerNorm(16), nn.Linear(16, 16, bias=False), nn.BatchNorm1d(16)])
def test_a_module_with_a_weight_of_zero_is_named(layer):
    nn.init.zeros_(layer.weight)
    (found,) = vanished(nn.Sequential(nn.Linear(8, 16), layer, nn.ReLU(), nn.Linear(16, 16), nn.Linear(16, 4)))
    assert found.module == "1"
    assert f"'1' ({type(layer).__name__}) loses it, whose weight is zero throughout." in found.message
    assert found.fix == "Give '1' a weight that is not zero."


def test_a_loss_that_many_layers_share_names_none():
    layers = [part for _ in range(8) for part in (nn.Linear(16, 16), nn.Tanh())]
    for layer in layers[::2]:
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
    (found,) = vanished(nn.Sequential(nn.Linear(8, 16), *layers, nn.Linear(16, 4)))
    assert found.module == "17"
    assert "loses it" not in found.message


def test_a_branch_of_zeros_beside_a_stream_is_not_named():
    last = nn.Linear(16, 16)
    nn.init.normal_(last.weight, std=1e-5)
    nn.init.zeros_(last.bias)
    (found,) = vanished(nn.Sequential(nn.Linear(8, 16), Residual(16), Residual(16), last, nn.Linear(16, 4)))
    assert "'1.body.2'" not in found.message


def test_a_sound_network_with_branches_of_zeros_is_left_alone():
    assert vanished(nn.Sequential(nn.Linear(8, 16), Residual(16), Residual(16), nn.Linear(16, 4))) == ()
