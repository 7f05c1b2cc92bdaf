"""How cosines grow through Gaussian layers, to first order in 1/N, against draws of wide layers."""

import numpy as np
import pytest

from steadygrad.prediction.batch import exchangeable
from steadygrad.prediction.overlap import aligning, growth, of_typical

WIDTH = 200
CASES = [(2, 0.0, 4), (8, 0.0, 4), (8, 0.0, 40), (8, 0.3, 6), (8, 0.8, 6), (24, 0.5, 10)]


def examples(rng, draws, batch, mean, dimensions):
    """[draws, examples, 1 + dimensions] unit vectors √m u + √(1 - m) v, of lengths that all are one."""
    v = rng.standard_normal((draws, batch, dimensions))
    v /= np.linalg.norm(v, axis=2, keepdims=True)
    common = np.full((draws, batch, 1), mean**0.5)
    return np.concatenate([common, (1 - mean) ** 0.5 * v], axis=2)


def varied(gram):
    """Per draw: K², K and q q' of distinct examples, each by the mean q of its draw."""
    size = np.einsum("dii->di", gram)
    scale = size.mean(1)
    off = ~np.eye(gram.shape[1], dtype=bool)
    k, q = gram / scale[:, None, None], size / scale[:, None]
    return np.stack([(k**2)[:, off].mean(1), k[:, off].mean(1), (q[:, :, None] * q[:, None, :])[:, off].mean(1)])


def variance(means):
    """E[c²] less the square of E[c], of ratios of means."""
    square, first, sizes = means
    return square / sizes - first**2 / sizes


@pytest.mark.parametrize(("batch", "mean", "dimensions"), CASES)
def test_the_variance_of_cosines_grows_as_the_first_order_says(batch, mean, dimensions):
    rng = np.random.default_rng(0)
    x = examples(rng, 4000, batch, mean, dimensions)
    z = np.einsum("dbi,din->dbn", x, rng.standard_normal((len(x), x.shape[2], WIDTH)))
    before, after = (varied(np.einsum("dbn,dcn->dbc", v, v) / v.shape[2]) for v in (x, z))
    parts = np.split(np.arange(len(x)), 20)
    grown = [variance(after[:, p].mean(1)) - variance(before[:, p].mean(1)) for p in parts]
    overlap = float(before[0].mean())
    expected = growth(float(before[1].mean()), overlap, 1 / batch)
    error = np.std(grown) / len(parts) ** 0.5
    assert WIDTH * np.mean(grown) == pytest.approx(expected, abs=WIDTH * 5 * error + 10 / WIDTH)


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.8, 0.95])
def test_the_alignment_of_a_product_grows_as_the_first_order_says(ratio):
    """Squared singular values that fall off geometrically; a gradient of entries ±1 meets them all."""
    rng = np.random.default_rng(1)
    shares = ratio ** np.arange(24)
    shares /= shares.sum()
    g = rng.choice([-1.0, 1.0], (2000, len(shares)))
    product = np.sqrt(shares)[:, None] * rng.standard_normal((len(g), len(shares), WIDTH)).astype(np.float32)
    back = np.einsum("dij,di->dj", product, g)
    on = np.einsum("dij,dj->di", product, back)
    found = (on**2).sum(1) / ((product**2).sum((1, 2)) * (back**2).sum(1))
    grown = WIDTH * (found - (shares**2).sum())
    alignment = float((shares**2).sum())
    expected = aligning(alignment, alignment)
    assert grown.mean() == pytest.approx(expected, abs=5 * grown.std() / len(g) ** 0.5 + 10 / WIDTH)


def test_what_is_left_in_a_typical_draw_is_a_share():
    rng = np.random.default_rng(2)
    for mean, more, weight in rng.random((300, 3)):
        overlap = mean**2 + more * (1 - mean**2)
        assert 0 <= of_typical(mean, overlap, weight) <= 1
        assert growth(mean, overlap, weight) >= 0
        assert aligning(overlap, mean * overlap) >= 0


@pytest.mark.parametrize("size", [2, 8, 32])
def test_the_log_of_a_mean_of_uneven_examples_varies_as_the_transform_says(size):
    """By central differences in the variance, with the same draws on both sides."""
    batch, rng = exchangeable(size), np.random.default_rng(3)
    x = rng.standard_normal((20, 20_000, size))

    def log_mean_and_weights(variance):
        y = np.exp(variance**0.5 * x)
        return np.log(y.mean(2)), ((y / y.sum(2, keepdims=True)) ** 2).sum(2)

    def within(found, expected, slack):
        assert expected == pytest.approx(found.mean(), abs=5 * found.std() / len(found) ** 0.5 + slack)

    for variance in (0.3, 1.0, 2.5):
        (low, _), (at, weights), (high, _) = (log_mean_and_weights(variance * f) for f in (0.9, 1.0, 1.1))
        within((high.var(1) - low.var(1)) / (0.2 * variance), batch.gathered(variance), 0.002)
        within(weights.mean(1), batch.concentration(variance), 0.001)
        within(((at - at.mean(1, keepdims=True)) ** 3).mean(1), batch.skewed(variance), 0.001)
