"""The cosine of two examples behind one layer of finitely many units: the first order in 1/N, against draws."""

import numpy as np
import pytest

from steadygrad.prediction import cosines
from steadygrad.prediction.batch import exchangeable
from steadygrad.prediction.cosines import Cosine
from steadygrad.prediction.hermite import decay, expand, tables
from steadygrad.prediction.overlap import of_differences, of_gram
from steadygrad.prediction.parting import _scattered

WIDTH, DRAWS = 128, 10_000
FUNCTIONS = {
    "line": lambda z: z,
    "relu": lambda z: np.maximum(z, 0.0),
    "tanh": np.tanh,
    "with a mean": lambda z: abs(z) + 1,
}


def pairs(rng, gap, units=WIDTH, draws=DRAWS):
    a, b = rng.standard_normal((2, draws, units))
    return a, (1 - gap) * a + (1 - (1 - gap) ** 2) ** 0.5 * b


def cosine(x, y):
    return (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))


@pytest.mark.parametrize("gap", [0.05, 0.5, 1.0, 1.6])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_cosine_of_units_has_the_mean_and_variance_of_the_law(name, gap):
    """Second orders are as large as the square of E[f⁴]/N: of ReLU 6/N squared, against what the cosine can vary by."""
    f, rng = FUNCTIONS[name], np.random.default_rng(0)
    values = f(tables()[0])[None]
    found = Cosine(gap, gap * (2 - gap)).through(expand(values), values, WIDTH)
    drawn = cosine(*map(f, pairs(rng, gap)))
    second = (6 / WIDTH) ** 2 * min(found.gap, 1.0)
    assert 1 - drawn.mean() == pytest.approx(found.gap, abs=5 * drawn.std() / DRAWS**0.5 + second)
    squares = (drawn - drawn.mean()) ** 2
    slack = 5 * squares.std() / DRAWS**0.5 + 0.1 * found.variance
    assert squares.mean() == pytest.approx(found.variance, abs=slack + 1e-3 * min(found.gap, 1.0) / WIDTH)


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 0.1), (0.5, 0.05), (0.95, 0.001), (-0.3, 0.2)])
def test_nodes_have_the_moments_of_a_beta_variable(mean, variance):
    gaps, weights = Cosine(1 - mean, 1 - variance - mean**2).nodes()
    half = (1 - mean) / 2
    count = half * (1 - half) * 4 / variance - 1
    moment, expected = 1.0, half * count
    for n in range(1, 2 * cosines.NODES):
        moment *= (expected + n - 1) / (count + n - 1)
        assert weights @ (gaps / 2) ** n == pytest.approx(moment)


def test_many_linear_layers_spread_cosines_as_the_law_says():
    """Pairs of unit vectors, orthogonal at first, through 40 layers of 64 units: only their Gram matrix is drawn."""
    rng, known, c = np.random.default_rng(1), Cosine(1.0, 1.0), np.zeros(DRAWS)
    for _ in range(40):
        known = known.of_units(64)
        a, b = rng.standard_normal((2, DRAWS, 64))
        c = cosine(a, c[:, None] * a + np.sqrt(1 - c**2)[:, None] * b)
    assert c.mean() == pytest.approx(1 - known.gap, abs=5 * c.std() / DRAWS**0.5)
    assert (c**2).mean() == pytest.approx(1 - known.spare, rel=0.02, abs=5 * (c**2).std() / DRAWS**0.5)


@pytest.mark.parametrize("gap", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("name", ["line", "relu", "tanh"])
def test_how_far_a_pair_is_apart_varies_alike_by_cosines_and_by_differences(name, gap):
    """Var log γ of two examples is S/γ², and by the variances of d and q what `parting` says of a batch of two."""
    values = FUNCTIONS[name](tables()[0])[None]
    f = expand(values)
    reached, _, scatter = cosines.law(f, values, np.array([gap]))
    of = _scattered(values[0], gap)
    own, joint = of.varied(reached[0], 2 * of.fourth, 0.5)
    squares = (f.square[0] / f.q[0]) ** 2
    total = squares[1:].sum() - decay(np.array([gap]))[0] @ squares / 2
    assert own - 2 * joint + total == pytest.approx(scatter[0] / reached[0] ** 2, rel=0.02)


@pytest.mark.parametrize("layers", [10, 30])
def test_gram_matrices_and_differences_of_unit_vectors_lose_rank_as_said(layers):
    """Far apart, where vectors are kept at one length, and as differences, whose lengths are free."""
    rng, batch, width = np.random.default_rng(3), 8, 64
    x = np.broadcast_to(np.eye(batch), (1500, batch, batch))
    overlap, least = 1 / batch, 1 / (batch - 1)
    differences = least
    for _ in range(layers):
        root = np.linalg.cholesky(x + 1e-12 * np.eye(batch))
        z = root @ rng.standard_normal((len(x), batch, width))
        x = z @ z.swapaxes(1, 2) / width
        overlap += of_gram(overlap) / width
        differences += of_differences(differences, 1.0, least) / width
    size = np.einsum("dii->d", x)
    assert ((x**2).sum((1, 2)) / size**2).mean() == pytest.approx(overlap, rel=0.05)
    length = np.sqrt(np.einsum("dii->di", x))
    c = x / (length[:, :, None] * length[:, None, :])
    apart = np.eye(batch) - 1 / batch
    k = apart @ c @ apart
    assert ((k**2).sum((1, 2)) / np.einsum("dii->d", k) ** 2).mean() == pytest.approx(differences, rel=0.05)


def test_lengths_do_not_enter_what_single_examples_vary_by_alone():
    batch, q = exchangeable(2), np.array([1.0, 4.0])
    assert batch.alone(2 * np.outer(q, q), q) == pytest.approx(0.0)
    assert batch.alone(2 * np.diag(q * q), q) == pytest.approx(2.0)
    assert batch.alone(np.diag([2.0, 0.0]), np.array([1.0, 0.0])) == pytest.approx(1.0)
