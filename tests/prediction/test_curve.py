"""Logs of mean squares behind functions: a power stays one, however far a deep network's second moment wanders."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import steadygrad as sg
from steadygrad.prediction.batch import exchangeable
from steadygrad.prediction.curve import passed, skewed
from steadygrad.prediction.hermite import tables
from steadygrad.prediction.propagation import two_gaps
from steadygrad.prediction.source import Source
from steadygrad.prediction.spread import CERTAIN, Noises


@pytest.mark.parametrize("variance", [0.1, 1.0, 10.0, 40.0, 100.0])
@pytest.mark.parametrize("function", [lambda z: np.maximum(z, 0.0), lambda z: z, abs])
def test_a_homogeneous_function_passes_a_log_as_it_is(function, variance):
    """f(s z)² = s² f(z)² for all s: the slope is one, and no bow is there to move the mean."""
    noises = Noises()
    values = function(tables()[0])[None]
    square = float(values[0] ** 2 @ tables()[1])
    curve = passed(values, square, noises.noise(0.0, variance, 0.0), noises, exchangeable(4))
    assert curve.slope == pytest.approx(1.0, abs=1e-3)
    assert curve.mean == pytest.approx(0.0, abs=1e-3 * max(variance, 1.0))


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 0.9), (0.44, 0.5), (0.9, 0.05), (0.2, 0.01)])
def test_two_correlations_have_mean_and_variance_of_those_over_draws(mean, variance):
    """No upper one is beyond 1: of rows that are ±1 times each other, E[c²] is near 1 whatever E[c] is."""
    gap = np.array([[0.0, 1 - mean], [1 - mean, 0.0]])
    excess = np.array([[0.0, variance], [variance, 0.0]])
    source = Source(np.zeros(2), np.ones(2), gap, 64, CERTAIN, CERTAIN, 1.0, before_excess=excess)
    gaps, chances = two_gaps(source, exchangeable(2))
    correlations = 1 - gaps[1:]
    assert (correlations <= 1).all()
    assert chances @ correlations == pytest.approx(mean)
    assert math.sqrt(chances @ (correlations - mean) ** 2) == pytest.approx(math.sqrt(variance))


def test_a_batch_that_has_come_to_lie_along_one_direction_stays_there():
    """Its rows are alike or opposite before a bias makes them alike: their squared products do not fall meanwhile.

    With them the variance of a layer's mean square, 2 E[c²]/N and more, and so that of the log of q, which forgets.
    """
    layers = [part for _ in range(400) for part in (nn.Linear(128, 128), nn.Tanh())]
    rows = list(
        sg.init.plan(
            nn.Sequential(*layers, nn.Linear(128, 10)), torch.randn(16, 128, generator=torch.Generator().manual_seed(0))
        ).after
    )
    deviations = np.array([math.log(row.q_high / row.q_low) for row in rows[:-1:2]])
    assert (np.diff(deviations) > -1e-3 * deviations[1:]).all()


@pytest.mark.parametrize("steps", [1, 3, 6])
def test_a_log_is_bent_by_all_functions_that_it_went_through(steps):
    """Third cumulants of a normal log behind GELUs without noise of their own, within a fifth, as by quadrature."""
    z, w = tables()[:2]
    x, p = np.polynomial.hermite_e.hermegauss(40)
    values = z * (1 + np.vectorize(math.erf)(z / 2**0.5)) / 2
    square, logs, noises = float(values**2 @ w), 0.05**0.5 * x, Noises()
    form = noises.noise(0.0, 0.05, 0.0)
    for _ in range(steps):
        curve = passed(values[None], square, form, noises, exchangeable(1))
        third = skewed(curve.bent, curve.slope * noises.covariance(form, form)[0])
        form = curve.of(form).shifted(0.0, third)
        stretched = [np.interp(np.exp(log / 2) * z, z, values) for log in logs]
        logs = np.log([float(y**2 @ w) for y in stretched]) - math.log(square)
    p = p / p.sum()
    assert noises.of(form)[2] == pytest.approx(float(p @ (logs - p @ logs) ** 3), rel=0.2)
