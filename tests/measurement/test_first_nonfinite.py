"""The first number that is not finite is found where it appears."""

import torch
from torch import nn

from steadygrad.measurement import observe


class Root(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, torch.sqrt(x), x)


class Overflow(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.exp(1000 * x.abs() + 1000)


def found(middle: nn.Module):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), middle, nn.Linear(8, 2))
    return observe(model, torch.randn(8, 4)).first_nonfinite


def test_forward():
    assert (found(Overflow()).path, found(Overflow()).direction) == ("1", "forward")


def test_backward_is_named_at_the_first_output_that_got_it():
    assert (found(Root()).path, found(Root()).direction) == ("0", "backward")


def test_nothing_where_all_is_finite():
    assert found(nn.ReLU()) is None
