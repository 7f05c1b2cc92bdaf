"""A gradient that is independent of all signals comes to lie along them by how long they are."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from steadygrad.prediction.batch import exchangeable
from steadygrad.prediction.gradients import _Product
from steadygrad.prediction.normal import gaussian
from steadygrad.prediction.propagation import forward
from steadygrad.prediction.source import Wave
from steadygrad.prediction.spread import CERTAIN, Noises
from steadygrad.prediction.stretched import onwards
from steadygrad.prediction.values import Moments

UNITS, DRAWS, VARIANCE = 256, 4000, 1.0


def silu(z):
    return z * expit(z)


def slope(z):
    return expit(z) * (1 + z * expit(-z))


def test_what_lies_along_the_signal_is_the_mean_over_lengths():
    """Independent g, and z whose log variance varies by one: the squared cosine of g h and z, within five errors.

    And a ratio's second order, the fourth moment of h over the width. At the typical length it were a sixth more.
    """
    batch, ones, noises = exchangeable(2), np.ones(2), Noises()
    m = Moments(ones * 0, ones, 1 - np.eye(2), CERTAIN)
    source = replace(gaussian(m, UNITS, batch), before=noises.noise(0.0, VARIANCE, 0.0))
    forward(Wave(source, silu(source.nodes), far=silu(source.far)), batch, noises)
    wave = Wave(source, slope(source.nodes), far=slope(source.far))
    found = _Product(m, source, wave, batch, 1.0, noises).along + 1 / UNITS
    rng = np.random.default_rng(0)
    z = rng.standard_normal((DRAWS, UNITS)) * np.exp(VARIANCE**0.5 / 2 * rng.standard_normal((DRAWS, 1)))
    g = rng.standard_normal((DRAWS, UNITS)) * slope(z)
    squares = (g * z).sum(1) ** 2 / ((g * g).sum(1) * (z * z).sum(1))
    error = 5 * squares.std() / DRAWS**0.5
    assert found == pytest.approx(squares.mean(), abs=error + 9 / UNITS**2)


def test_a_jump_at_zero_is_stepped_over():
    """Between the nodes beside 0 a sign is one or the other."""
    z = np.array([-3.0, -1.0, 1.0, 3.0])
    assert onwards(np.array([-0.5, -1e-3, 1e-3, 0.5, 4.0]), z, np.sign(z)).tolist() == [-1, -1, 1, 1, 1]
