"""By how much more of a gradient a function's derivative leaves where the gradient lies along the signal.

A gradient g of n entries of which the squared cosine with f(z) is a has E[(g h(z))²]/(E[g²] E[h²]) = 1 + (a - 1/n)
(E[f² h²]/(E[f²] E[h²]) - 1), as what lies along f meets h where f is large.
"""

import dataclasses

import numpy as np
import pytest
from scipy.special import erf

from steadygrad.prediction.batch import exchangeable
from steadygrad.prediction.gradients import _Product
from steadygrad.prediction.normal import gaussian
from steadygrad.prediction.propagation import forward
from steadygrad.prediction.source import Wave
from steadygrad.prediction.spread import CERTAIN, Noises
from steadygrad.prediction.values import Moments

UNITS, BATCH = 400, 2
FUNCTIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "gelu": (
        lambda z: z * (1 + erf(z / 2**0.5)) / 2,
        lambda z: (1 + erf(z / 2**0.5)) / 2 + z * np.exp(-z * z / 2) / (2 * np.pi) ** 0.5,
    ),
}


def product(name, along):
    """The gradient of unit size that lies so far along f(z), beyond chance, times f'(z)."""
    batch, (f, slope) = exchangeable(BATCH), FUNCTIONS[name]
    ones, apart = np.ones(batch.followed), 1 - np.eye(batch.followed)
    source = gaussian(Moments(ones * 0, ones, apart, CERTAIN), UNITS, batch)
    noises = Noises()
    forward(Wave(source, f(source.nodes)), batch, noises)
    base = Moments(ones * 0, ones, apart, CERTAIN, along=along)
    return _Product(base, source, Wave(source, slope(source.nodes)), batch, 1.0, noises)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("a", [0.05, 0.4])
def test_what_lies_along_the_signal_meets_the_derivative_where_the_signal_is_large(name, a):
    """400 draws of gradients with this cosine: the ratio within five standard errors and the inverse of the width."""
    rng, (f, slope) = np.random.default_rng(0), FUNCTIONS[name]
    z = rng.standard_normal((400, UNITS))
    signal, rest = f(z), rng.standard_normal(z.shape)
    signal /= np.linalg.norm(signal, axis=1, keepdims=True)
    rest -= (rest * signal).sum(1, keepdims=True) * signal
    rest /= np.linalg.norm(rest, axis=1, keepdims=True)
    g = (a**0.5 * signal + (1 - a) ** 0.5 * rest) * UNITS**0.5
    ratio = ((g * slope(z)) ** 2).mean(1) / (slope(z) ** 2).mean()
    found = product(name, a - 1 / UNITS).favour
    assert found == pytest.approx(ratio.mean(), abs=5 * ratio.std() / len(ratio) ** 0.5 + 2 / UNITS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_favoured_is_the_slope_of_that_in_the_log_of_the_share(name):
    """1 + (a - p) x grows by a x where log a grows by one: a difference quotient at one part in ten thousand."""
    a, step = 0.3, 1e-4
    low, here, high = (product(name, a * np.exp(s) - 1 / UNITS) for s in (-step, 0.0, step))
    assert here.favoured == pytest.approx((high.favour - low.favour) / (2 * step), rel=1e-6)
    none = dataclasses.replace(here.base, along=-1 / UNITS)
    assert _Product(none, here.source, Wave(here.source, here.values), here.batch, 1.0, Noises()).favoured == 0
