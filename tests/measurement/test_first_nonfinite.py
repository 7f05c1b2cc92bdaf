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


class Logarithm(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(-self.inner(x).abs() - 1)


def test_what_a_module_computes_between_its_children_is_its_own():
    first = found(Logarithm(nn.Identity()))
    assert (first.path, first.kind, first.direction) == ("1", "Logarithm", "forward")


def test_the_model_itself_may_be_the_first():
    torch.manual_seed(0)
    first = observe(Logarithm(nn.Linear(4, 2)), torch.randn(8, 4)).first_nonfinite
    assert (first.path, first.kind, first.direction) == ("", "Logarithm", "forward")


def test_the_loss_is_named_where_every_output_is_finite():
    torch.manual_seed(0)
    first = observe(nn.Linear(4, 2), torch.randn(8, 4), None, lambda o, _: torch.log(o).mean()).first_nonfinite
    assert (first.path, first.direction) == ("", "loss")
