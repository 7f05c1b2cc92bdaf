"""The saturated share of an activation, against the slopes at all entries."""

import gc
import math

import pytest
import torch
from torch import nn

from steadygrad.measurement.slopes import flat_share
from steadygrad.measurement.unit_health import _POINTWISE, SMALL_SLOPE, slopes

SATURATING = {
    "tanh": (torch.tanh, lambda z: 1 - torch.tanh(z) ** 2, 0.0),
    "sigmoid": (torch.sigmoid, lambda z: torch.sigmoid(z) * torch.sigmoid(-z), 0.5),
    "erf": (torch.erf, lambda z: 2 / math.pi**0.5 * torch.exp(-z * z), 0.0),
    "hardtanh": (nn.Hardtanh(), lambda z: (z.abs() < 1).to(z.dtype), 0.0),
    "steep": (lambda z: torch.tanh(50 * z), lambda z: 50 * (1 - torch.tanh(50 * z) ** 2), 0.0),
}
OTHERS = [nn.ReLU(), nn.LeakyReLU(), nn.GELU(), nn.SiLU(), nn.Softplus(), nn.ELU(), torch.exp, torch.sin, nn.PReLU(40)]


@pytest.mark.parametrize("shape", [(64, 40), (2000, 3), (7, 2, 500), (3, 4, 5, 6), (1, 9000)])
@pytest.mark.parametrize("name", SATURATING)
def test_the_share_is_that_of_entries_with_a_small_slope_away_from_zero(name, shape):
    function, slope, at_zero = SATURATING[name]
    torch.manual_seed(0)
    x = 2 * torch.randn(shape, dtype=torch.float64)
    usual = torch.linspace(-3, 3, 100_001, dtype=torch.float64)
    away, reach = (function(x) - at_zero).abs(), (function(usual) - at_zero).abs().max()
    flat = (slope(x).abs() <= SMALL_SLOPE * slope(usual).abs().max()) & (away > SMALL_SLOPE * reach)
    found = flat_share(function, x)
    # Entries whose slope lies within 1% of a small one may be told either way: the steepest is looked for at points.
    close = (slope(x) / slope(usual).max() / SMALL_SLOPE - 1).abs() < 0.01
    assert abs(found.saturated - flat.double().mean().item()) <= close.double().mean().item()
    assert found.entries == x.numel()


@pytest.mark.parametrize("function", OTHERS, ids=lambda f: getattr(f, "__name__", type(f).__name__))
def test_what_is_flat_on_one_side_at_most_has_no_saturated_entries(function):
    torch.manual_seed(0)
    assert flat_share(function, 5 * torch.randn(64, 40)).saturated == 0


@pytest.mark.parametrize("function", [nn.Softmax(-1), lambda x: x - x.mean(0), lambda x: x.flip(-1), torch.sum])
def test_what_is_not_pointwise_has_no_share(function):
    assert flat_share(function, torch.randn(64, 40)) is None


def test_all_entries_are_looked_at_once_and_a_few_are_tried_beside_them():
    seen: list[int] = []

    def function(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.numel())
        return torch.tanh(x)

    flat_share(function, torch.randn(1024, 64))
    assert sum(seen) < 1.25 * 1024 * 64


def test_a_function_of_so_many_examples_alone_is_tried_on_as_many():
    mask = torch.ones(300, 1)
    x = torch.full((300, 100), 9.0)
    assert flat_share(lambda z: torch.tanh(z) * mask, x).saturated == 1


@pytest.mark.parametrize("kind", sorted(_POINTWISE, key=str), ids=lambda kind: kind.__name__)
def test_what_is_taken_for_pointwise_is_so(kind):
    """A class of its own is not known, so its Jacobian is looked at."""
    torch.manual_seed(0)
    arguments = (0.1, 0.0) if kind is nn.Threshold else ()
    own, x = type("Own", (kind,), {})(*arguments), torch.randn(64, 40)
    assert all(map(torch.equal, slopes(own, x), slopes(kind(*arguments), x)))


@pytest.mark.parametrize("kind", [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU])
def test_no_graph_is_left(kind):
    """Some functions save their output: were it saved as it is, it and its graph would keep each other."""

    def held():
        gc.collect()
        return sum(type(x) is torch.Tensor and x.shape == (7, 53) for x in gc.get_objects())

    x, before = torch.randn(7, 53), held()
    slopes(kind(), x)
    assert held() == before
