"""How gradients fall to the keys of attention: sums over the queries that reach each."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.prediction import predict
from steadygrad.prediction.field import white
from steadygrad.prediction.reach import Reach, masked, unmasked

T = 16
EVEN = np.tri(T) / np.arange(1, T + 1)[:, None]  # weights of a causal mask where all logits are alike
OF_QUERY = np.linspace(2, 0.1, T)


def banded(width):
    near = torch.ones(T, T).tril().triu(1 - width) > 0
    return masked(near, T, T), (near / near.sum(1, keepdim=True)).double().numpy()


REACHES = {
    "unmasked": (unmasked(T, T, False), np.full((T, T), 1 / T)),
    "causal": (unmasked(T, T, True), EVEN),
    "causal mask": (masked(torch.ones(T, T).tril() > 0, T, T), EVEN),
    "band": banded(4),
    "fewer keys": (unmasked(T, 5, True), np.tri(T, 5) / np.minimum(np.arange(1, T + 1), 5)[:, None]),
    "more keys": (unmasked(T, 20, True), np.pad(EVEN, ((0, 0), (0, 4)))),
}


@pytest.mark.parametrize(("reach", "weights"), REACHES.values(), ids=REACHES.keys())
def test_keys_are_handed_the_sums_over_the_queries_that_reach_them(reach, weights):
    np.testing.assert_allclose(reach.handed(OF_QUERY), OF_QUERY @ weights, atol=1e-12)
    roots = OF_QUERY**0.5
    by_pairs = (roots @ weights) ** 2 - OF_QUERY @ weights**2
    np.testing.assert_allclose(reach.handed_by_pairs(OF_QUERY), by_pairs, atol=1e-12)


def test_keys_of_a_mask_that_is_too_large_to_be_looked_at_are_taken_as_alike():
    reach = Reach(np.full(1, 8.0), 1 / 8, 4, 8)
    np.testing.assert_allclose(reach.handed(np.arange(4.0)), 6 / 8)


class Even(nn.Module):
    """Layers of attention whose logits are all 0, one on the other: linear, with the weights of `EVEN`."""

    def __init__(self, layers):
        super().__init__()
        self.zero, self.end = nn.Linear(64, 1024), nn.Identity()
        self.values = nn.ModuleList(nn.Linear(1024 if i else 64, 1024, bias=False) for i in range(layers))
        nn.init.zeros_(self.zero.weight)
        nn.init.zeros_(self.zero.bias)

    def forward(self, x):
        z = self.zero(x)
        for layer in self.values:
            x = F.scaled_dot_product_attention(z, z, layer(x), is_causal=True)
        return self.end(x)


@pytest.mark.parametrize(("layers", "apart"), [(1, 1e-3), (2, 0.1), (3, 0.1), (4, 0.1)])
def test_gradients_gather_at_early_positions_behind_layers_of_causal_attention(layers, apart):
    """L layers are EVEN^L over positions and W^L over features, of entries of variance 1/(3 n): |EVEN^L|²/T 3^(1 - L).

    With one the law is exact; behind more, products of places are laid out as one factor, within 0.1 in the log as all
    of attention is held. Alike at all positions and lags they would be 0.7 off with two, and 1.4 with four.
    """
    exact = (np.linalg.matrix_power(EVEN, layers) ** 2).sum() / T / 3 ** (layers - 1)
    rows = predict(lambda: Even(layers), (4, T, 64))
    assert abs(np.log(rows["values.0"].grad_q / rows["end"].grad_q / exact)) < apart


def test_products_that_are_laid_out_otherwise_than_squares_keep_their_own_factors():
    """Places with x² = 1 + m² and products m m', times f f': at each lag the mean of m f m' f' over that of squares."""
    rng = np.random.default_rng(0)
    m, f = rng.uniform(0.2, 2, (2, T))

    def by_lag(values):
        return np.array([(values[lag:] * values[: T - lag]).mean() for lag in range(T)])

    level = 1 + (m**2).mean()
    products = by_lag(m) / level
    products[0] = 1.0
    field = white((T,), 0.0, 1.0, 1.0)
    given = replace(field, share=(1 + m**2) / level, within=1 - products, common=m**2 / (m**2).mean())
    found, mean = given.times(f**2)
    squares = f**2 * (1 + m**2)
    assert mean == pytest.approx(squares.mean() / level)
    np.testing.assert_allclose(found.share, squares / squares.mean())
    np.testing.assert_allclose(1 - found.within[1:], by_lag(m * f)[1:] / squares.mean())
    np.testing.assert_allclose(found.common, (m * f) ** 2 / ((m * f) ** 2).mean())


def test_a_sum_has_its_products_where_the_terms_that_have_any_have_theirs():
    m = np.linspace(2, 0.2, T)
    alone = white((T,), 1.0, 1.0, 1.0)
    given = replace(white((T,), 0.5, 1.0, 1.0), common=m**2 / (m**2).mean())
    np.testing.assert_allclose(given.mixed(0.3, alone, 0.7).common, given.common)
    np.testing.assert_allclose(given.mixed(0.5, white((T,), 0.5, 1.0, 1.0), 0.5).common, (given.common + 1) / 2)
