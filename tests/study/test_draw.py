"""Points start from weights of the variance that theory states, and from the same ones wherever they are drawn."""

import dataclasses

import pytest
import torch

from steadygrad import theory
from steadygrad.study import Point, network
from steadygrad.study.population.draw import draw

POINT = Point(depth=2, width=150, activation="tanh")
INPUTS, OUTPUTS = 200, 100


@pytest.mark.parametrize("name", theory.INITIALIZERS)
def test_variances_are_those_of_theory(name):
    known = theory.initializer(name, activation="tanh")
    for weight, bias in draw(dataclasses.replace(POINT, initializer=name, gain=1.5), INPUTS, OUTPUTS):
        fan_out, fan_in = weight.shape
        # Var of w^2 is at most that of a normal, 2 Var(w)^2: five standard errors of the mean square.
        error = 5 * (2 / weight.numel()) ** 0.5
        expected = 1.5**2 * known.weight_variance(fan_in, fan_out)
        assert weight.square().mean().item() == pytest.approx(expected, rel=error)
        error = 5 * (2 / fan_out) ** 0.5
        assert bias.square().mean().item() == pytest.approx(known.bias_variance(fan_in), rel=error)


def test_scales_are_those_that_are_asked_for():
    layers = draw(dataclasses.replace(POINT, sigma_w=1.3, sigma_b=0.4, bias_mean=-2.0), INPUTS, OUTPUTS)
    for index, (weight, bias) in enumerate(layers):
        error = 5 * (2 / weight.numel()) ** 0.5
        assert weight.square().mean().item() * weight.shape[1] == pytest.approx(1.3**2, rel=error)
        mean = -2.0 if index < 2 else 0.0
        assert bias.mean().item() == pytest.approx(mean, abs=5 * 0.4 / len(bias) ** 0.5)
        assert bias.var().item() == pytest.approx(0.4**2, rel=5 * (2 / len(bias)) ** 0.5)


def test_points_that_differ_in_a_scale_get_the_same_numbers_scaled():
    one, two = (draw(dataclasses.replace(POINT, sigma_w=s, sigma_b=0.1), INPUTS, OUTPUTS) for s in (1.0, 2.0))
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(2 * a.weight, b.weight)
        torch.testing.assert_close(a.bias, b.bias)


def test_drawing_leaves_torch_s_own_numbers_alone():
    before = torch.get_rng_state()
    network(dataclasses.replace(POINT, initializer="orthogonal"))
    assert torch.equal(torch.get_rng_state(), before)
