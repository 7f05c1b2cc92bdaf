"""The scale that INI005 tells is tried: with it the stream grows by no more than about e."""

import re

import pytest
import torch
from torch import nn

import steadygrad as sg


class Blocks(nn.Module):
    def __init__(self, blocks, deviation, scale=1.0):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32)) for _ in range(blocks)
        )
        self.head, self.scale = nn.Linear(32, 10), scale
        for layer in self.blocks.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=deviation)

    def forward(self, x):
        for block in self.blocks:
            x = x + self.scale * block(x)
        return self.head(x)


def found(*how, head=1.0, select=("INI005",)):
    torch.manual_seed(0)
    data = [(torch.randn(64, 32), torch.randint(10, (64,)))]
    setup = {"model": Blocks(*how), "data": data, "loss_fn": nn.CrossEntropyLoss()}
    setup["model"].head.weight.data *= head
    return sg.check(setup, select=select, trial=False).findings


@pytest.mark.parametrize("deviation", [0.25, 0.5, 0.9])  # the last overflows the squares of single precision
def test_the_told_scale_keeps_the_stream(deviation):
    (finding,) = found(24, deviation)
    assert "infinity" not in finding.message
    scale = float(re.search(r"by ([0-9.e-]+),", finding.fix).group(1))
    assert not found(24, deviation, scale)


def test_growth_that_makes_the_first_loss_loud_is_its_cause():
    (finding,) = found(9, 0.25, select=("INI005", "LOS004"))
    assert (finding.code, [f.code for f in finding.consequences]) == ("INI005", ["LOS004"])
    assert finding.measured < finding.expected  # it is less than what networks were seen not to train at
    scale = float(re.search(r"by ([0-9.e-]+),", finding.fix).group(1))
    assert not found(9, 0.25, scale, select=("INI005", "LOS004"))


def test_growth_that_the_loss_does_not_hear_is_no_fault():
    assert not found(9, 0.25, head=0.0)


def test_a_head_that_is_loud_by_itself_is_not_the_growth_of_its_stream():
    assert [f.code for f in found(9, 0.25, head=300.0, select=("INI005", "LOS004"))] == ["LOS004"]
