"""E[phi''^2], against closed second derivatives and the derivative's correlation map."""

import math

import numpy as np
import pytest

from steadygrad import theory


def tanh_second(u):
    return -2 * np.tanh(u) / np.cosh(u) ** 2


@pytest.mark.parametrize("q", [1e-6, 0.1, 1.0, 37.0])
def test_curvature_of_tanh_sin_and_elu(q):
    exact = theory.gaussian_mean(lambda u: tanh_second(u) ** 2, q)
    assert theory.curvature("tanh", q) == pytest.approx(exact, rel=1e-8)
    assert theory.curvature("sin", q) == pytest.approx(-math.expm1(-2 * q) / 2, rel=1e-8)
    below = theory.gaussian_mean(lambda u: np.where(u < 0, np.exp(2 * np.minimum(u, 0)), 0), q, kinks=(0.0,))
    assert theory.curvature("elu", q) == pytest.approx(below, rel=1e-8)


@pytest.mark.parametrize("name", ["gelu", "silu", "softplus", "softsign", "elu"])
def test_curvature_is_the_slope_of_the_derivatives_map(name):
    m = theory.moments(name, 1.3)
    slope = m.derivative_second * float(theory.derivative_gap_map(name, 1.3, 1e-12)) / 1e-12
    assert 1.3 * theory.curvature(name, 1.3) == pytest.approx(slope, rel=1e-5)


def test_curvature_behind_a_corner_is_infinite():
    assert theory.curvature("selu", 1.0) == math.inf
    with pytest.raises(ValueError, match="must have no corners"):
        theory.tailored_smooth("selu", depth=20)
