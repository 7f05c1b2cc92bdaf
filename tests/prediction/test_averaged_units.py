"""What the mean over windows of positions leaves of a unit, and by how much its square then varies."""

import math

import numpy as np
import pytest
import torch

from steadygrad.prediction.averaged_units import unit_variance
from steadygrad.prediction.batch import exchangeable
from steadygrad.prediction.field import Field
from steadygrad.prediction.hermite import tables
from steadygrad.prediction.source import Source, Wave
from steadygrad.prediction.spread import CERTAIN
from steadygrad.prediction.windows import Window

EXAMPLES, PLACES = 4, 12
FUNCTIONS = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0.0),
    "tanh": np.tanh,
    "gelu": lambda z: torch.nn.functional.gelu(torch.from_numpy(z)).numpy(),
}


def correlations(reach):
    """Of two places of one example and of two, by their lag."""
    lag = np.arange(PLACES)
    return np.exp(-((lag / reach) ** 2)), 0.4 * np.exp(-((lag / reach) ** 2))


def wave(f, reach):
    own, other = correlations(reach)
    field = Field(np.ones(PLACES), 1 - own, 1 - other)
    gap = 0.6 * (1 - np.eye(2))
    source = Source(np.zeros(2), np.ones(2), gap, 64, CERTAIN, CERTAIN, 1.0, field=field)
    return Wave(source, f(tables()[0])[None])


def drawn(f, reach, kernel, count=10_000):
    """The relative variance of the mean square over examples and windows of units that are drawn."""
    lag = abs(np.arange(PLACES)[:, None] - np.arange(PLACES))
    own, other = (c[lag] for c in correlations(reach))
    power, vectors = np.linalg.eigh(np.kron(np.eye(EXAMPLES), own - other) + np.kron(np.ones((EXAMPLES,) * 2), other))
    z = np.random.default_rng(0).standard_normal((count, len(power))) @ (vectors * np.sqrt(np.maximum(power, 0))).T
    means = f(z).reshape(count, EXAMPLES, PLACES // kernel, kernel).mean(3)
    squares = (means**2).mean((1, 2))
    return float(squares.var() / squares.mean() ** 2)


@pytest.mark.parametrize("kernel", [2, 4, 12])
@pytest.mark.parametrize("reach", [0.5, 3.0, 20.0])
@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_a_unit_varies_as_one_that_is_drawn(f, reach, kernel):
    """Its deviation within 11%: the mean is next to, and not quite, a function of one Gaussian; draws err by 2%."""
    windows = [Window(kernel, kernel, 0, PLACES, PLACES // kernel)]
    found = unit_variance(wave(f, reach), windows, exchangeable(EXAMPLES))
    assert abs(math.log(found / drawn(f, reach, kernel))) / 2 < 0.11


def test_a_gaussian_varies_by_twice_the_squared_correlation_of_its_windows():
    windows = [Window(PLACES, PLACES, 0, PLACES, 1)]
    found = unit_variance(wave(FUNCTIONS["identity"], 3.0), windows, exchangeable(EXAMPLES))
    assert found == pytest.approx(2 * (1 / EXAMPLES + (1 - 1 / EXAMPLES) * 0.4**2))
