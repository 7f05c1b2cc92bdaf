"""Batches of examples whose lengths differ: what of their sizes, products and medians is left, against draws."""

import math

import numpy as np
import pytest

from steadygrad.prediction.batch import exchangeable
from steadygrad.prediction.cosines import Cosine
from steadygrad.prediction.parting import Parting

DRAWS = 20_000


def lengths(size, variance, draws=DRAWS):
    """Squared lengths of the examples of many draws, their logs normal of this variance."""
    return np.exp(math.sqrt(variance) * np.random.default_rng(size).standard_normal((draws, size)))


def missing(squared):
    """How much less two distinct examples of each draw have in common, relative to their mean square."""
    whole = squared.sum(1)
    return 1 - (np.sqrt(squared).sum(1) ** 2 - whole) / ((squared.shape[1] - 1) * whole)


@pytest.mark.parametrize("size", [2, 8, 64])
@pytest.mark.parametrize("variance", [0.01, 0.5, 4.0, 25.0])
def test_examples_of_different_lengths_have_less_in_common_and_a_larger_mean(size, variance):
    """Means within five standard errors, and the thousandth that is left between the points of a table."""
    batch, squared = exchangeable(size), lengths(size, variance)
    for found, drawn in (
        (batch.uneven(variance), missing(squared)),
        (batch.lifted(variance), np.log(squared.mean(1))),
    ):
        error = 5 * drawn.std() / DRAWS**0.5
        assert found == pytest.approx(drawn.mean(), abs=error, rel=1e-3)


@pytest.mark.parametrize("size", [2, 8])
def test_of_lengths_that_are_far_apart_the_largest_is_all_there_is(size):
    """Beyond the table, at 9 deviations: nothing is in common with the others, and the mean is the largest's share."""
    batch, squared = exchangeable(size), lengths(size, 81.0)
    drawn = np.log(squared.mean(1))
    assert batch.lifted(81.0) == pytest.approx(drawn.mean(), abs=5 * drawn.std() / DRAWS**0.5 + math.log(2) / 2)
    assert batch.uneven(1e-12) == pytest.approx(1e-12 / 4)


@pytest.mark.parametrize("apart", [0.0, 0.2, 1.0])
@pytest.mark.parametrize(("typical", "variance"), [(0.02, 1.0), (0.05, 0.5), (0.3, 0.1)])
def test_the_median_of_what_examples_differ_by_is_that_of_angles_and_lengths_together(typical, variance, apart):
    """A lognormal γ beside the lengths of 8 examples, 1 - (1 - γ)(1 - u): five standard errors of a median, and what
    Cornish and Fisher leave, the square of a skewness over 18 of a deviation or so: .03 of it."""
    size = 8
    batch, rng = exchangeable(size), np.random.default_rng(1)
    gap = typical * np.exp(math.sqrt(variance) * rng.standard_normal(DRAWS))
    drawn = 1 - (1 - gap) * (1 - (missing(lengths(size, apart)) if apart else 0.0))
    parting = Parting(1 / (size - 1), variance, lengths=1 / (size - 1), cosine=Cosine(typical, 2 * typical))
    error = 5 * 1.2533 * drawn.std() / DRAWS**0.5
    found = parting.median(typical, apart, batch)
    assert found == pytest.approx(np.median(drawn), abs=error + 0.03 * drawn.std())


@pytest.mark.parametrize("typical", [0.0, 1e-300, 1e-9, 0.5, 1.1])
def test_no_median_lies_where_no_angle_does(typical):
    """Logs that wander over any number of decades leave a γ from 0 to 2, and all of it where lengths are one."""
    for variance in (0.0, 1e-3, 30.0, 1e4):
        parting = Parting(1 / 7, variance, lengths=1 / 7)
        for apart in (0.0, 1e-9, 1.0, 1e4):
            assert 0 <= parting.median(typical, apart, exchangeable(8)) <= 2
    assert Parting(1 / 7, 0.0).median(typical, 0.0, exchangeable(8)) == pytest.approx(typical)
