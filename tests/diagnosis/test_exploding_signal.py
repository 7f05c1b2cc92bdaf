"""Where an operator alone makes the signal explode its line is named, and only there."""

import pytest
import torch
from torch import nn

from steadygrad import check


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class Exponential(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.last(torch.exp(20 * self.first(x)))


def exploded(model):
    data = [(torch.randn(32, 8), torch.randint(4, (32,)))]
    setup = {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss()}
    return check(setup, select=["FWD002"], trial=False).findings


def test_an_exponential_is_named_with_its_line():
    (found,) = exploded(Exponential())
    assert "`exp` at test_exploding_signal.py:" in found.message
    assert found.fix.startswith("Bound what the exponential is given")


def test_a_layer_that_does_it_alone_is_named():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    nn.init.normal_(model[0].weight, std=1e4)
    (found,) = exploded(model)
    assert "`addmm` in '0' alone multiplies it by" in found.message
    assert found.fix.startswith("Lower the gain of the weights")


def test_where_all_layers_share_in_it_none_is_named():
    layers = [part for _ in range(8) for part in (nn.Linear(16, 16), nn.ReLU())]
    for layer in layers[::2]:
        nn.init.normal_(layer.weight, std=3.0)
    (found,) = exploded(nn.Sequential(nn.Linear(8, 16), *layers, nn.Linear(16, 4)))
    assert "alone" not in found.message
