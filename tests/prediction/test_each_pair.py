"""Products of every two places, of an example and of two: of data, behind norms and causal means, against draws."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import steadygrad as sg
from steadygrad.prediction import each_pair
from steadygrad.prediction.attention import Attention
from steadygrad.prediction.data_field import of_data as field_of
from steadygrad.prediction.inputs import examples_of
from steadygrad.prediction.reach import unmasked
from steadygrad.prediction.sampling import moments_of_data

T, WIDTH, DRAWS = 8, 64, 400


def tokens(seed=0):
    """Tokens of four examples of one size; the later, the shorter and the more alike, in an example and in all."""
    rng = torch.Generator().manual_seed(seed)
    shared, own, each = (torch.randn(n, t, WIDTH, generator=rng) for n, t in ((1, 1), (4, 1), (4, T)))
    at = torch.arange(T)[None, :, None] / T
    x = (each * (1 - at) + own * at / 2 + shared * at) * (2 - at)
    return x / x.square().mean((1, 2), keepdim=True).sqrt()


def apart(x):
    """1 - c over the examples of a tensor."""
    x = x.detach().double()
    return float(x.var(0).mean() / x.square().mean())


def products(x):
    """Of every two places, of an example and of two, relative to q: [2, places, places]."""
    x = x.detach().double().numpy()
    every = np.einsum("isn,jtn->ijst", x, x)
    own = np.einsum("iist->st", every)
    return np.stack([own / len(x), (every.sum((0, 1)) - own) / len(x) / (len(x) - 1)]) / (x**2).mean() / x.shape[-1]


def known(x):
    """What is known of data over its places."""
    batch = examples_of(x).batch
    field = each_pair.of_data(field_of(x.double().numpy()), x.double().numpy())
    return replace(moments_of_data(x.double(), batch), field=field), batch


def test_products_of_data_are_those_that_it_has():
    field = known(tokens())[0].field
    np.testing.assert_allclose(field.products, products(tokens()), rtol=1e-6)
    assert field.across[2] == pytest.approx(1 - np.diagonal(field.products[1], 2).mean())


def test_causal_means_of_two_examples_have_in_common_what_their_first_tokens_have():
    """Of weights that are all alike; to rounding."""
    (m, batch), x = known(tokens()), tokens()
    how = Attention(m, m, WIDTH, unmasked(T, T, True), scale=1e-9)
    found, means = how.forward(m, batch), x.cumsum(1) / torch.arange(1, T + 1)[:, None]
    assert batch.distinct_mean(found.d) / found.q.mean() == pytest.approx(apart(means), rel=1e-5)
    np.testing.assert_allclose(found.field.products, products(means), rtol=1e-5, atol=1e-6)


def test_behind_a_norm_long_tokens_count_as_the_others_do():
    """A norm that takes out the mean of 64 features leaves products as they are to within their number."""
    x, norm = tokens(), nn.LayerNorm(WIDTH, elementwise_affine=False)
    told = sg.predict(lambda: nn.Sequential(nn.Identity(), norm), x).layers[-1]
    assert abs(apart(norm(x)) - apart(x)) > 0.1
    assert told.signal / told.q == pytest.approx(apart(norm(x)), abs=0.5 / WIDTH)


class Block(nn.Module):
    """Causal attention behind a norm, added to its input."""

    def __init__(self):
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).view(4, T, 3, 4, WIDTH // 4).permute(2, 0, 3, 1, 4)
        return x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape))


@pytest.mark.parametrize("seed", [0, 1])
def test_examples_behind_blocks_of_causal_attention_are_as_far_apart_as_in_draws(seed):
    """The median over draws at what each block adds, to 2% or five errors."""
    torch.set_num_threads(1)
    x = tokens(seed)
    found = []
    for draw in range(DRAWS):
        torch.manual_seed(draw)
        model, seen = nn.Sequential(*(Block() for _ in range(3))), []
        for block in model:
            block.out.register_forward_hook(lambda m, a, y, seen=seen: seen.append(apart(y)))
        with torch.no_grad():
            model(x)
        found.append(seen)
    logs = np.log(found)
    profile = sg.predict(lambda: nn.Sequential(*(Block() for _ in range(3))), x)
    told = np.log([profile[f"{i}.out"].signal / profile[f"{i}.out"].q for i in range(3)])
    assert (abs(told - np.median(logs, 0)) < np.maximum(0.02, 5 * 1.2533 * logs.std(0) / DRAWS**0.5)).all()


def test_keys_get_of_queries_what_a_causal_mask_hands_them():
    """Of weights that are all alike, and of drawn ones, whose squares are larger; over 20,000 draws of them."""
    rng, places = np.random.default_rng(0), np.arange(1, T + 1)
    queries = products(tokens())[0]
    even = np.tri(T) / places[:, None]
    np.testing.assert_allclose(each_pair.handed(queries, 1 / places, 1.0), even.T @ queries @ even)
    drawn = np.tril(
        rng.exponential(size=(20_000, T, T))
    )  # a draw from a flat Dirichlet, where it is divided by its sum
    drawn /= drawn.sum(-1, keepdims=True)
    one = np.swapaxes(drawn, 1, 2) @ queries @ drawn
    found = each_pair.handed(queries, 2 / (places + 1), 1.0)
    assert (abs(found - one.mean(0)) < 5 * one.std(0) / 20_000**0.5 + 1e-9).all()


def test_products_pass_a_factor_that_differs_from_place_to_place():
    field, rng = known(tokens())[0].field, np.random.default_rng(0)
    squares = rng.uniform(0.5, 2.0, T)
    new, level = field.times(squares)
    x = tokens() * torch.tensor(squares**0.5, dtype=torch.float32)[:, None]
    assert level == pytest.approx(float((x**2).mean() / (tokens() ** 2).mean()))
    np.testing.assert_allclose(new.products, products(x), rtol=1e-5, atol=1e-6)
    assert new.within[3] == pytest.approx(1 - np.diagonal(new.products[0], 3).mean())


def test_products_of_independent_factors_are_multiplied():
    """Each with its own 4096 features: E[a a' b b'] at two places, to within five errors of so many."""
    a, b = (torch.randn(1, T, 4096, generator=torch.Generator().manual_seed(s)).cumsum(1) for s in (0, 1))
    own = [np.stack([products(x.repeat(2, 1, 1))[0]] * 2) for x in (a, b, a * b)]
    fields = [each_pair.told(field_of(x.double().numpy()), k) for x, k in zip((a, b), own, strict=False)]
    np.testing.assert_allclose(fields[0].met(fields[1]).products[0], own[2][0], rtol=5 * 3 / 4096**0.5)


class Heads(nn.Module):
    """Attention whose queries, keys and values are each of a layer of their own."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x):
        q, k, v = (f(x).view(4, -1, 4, WIDTH // 4).transpose(1, 2) for f in (self.query, self.key, self.value))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)


def test_gradients_of_queries_grow_with_products_of_tokens_alone():
    """Not with the fourth cumulant of uniform weights; the median over draws, to five errors.

    Beside 2/n, of n features, in which the weights, q·k, and their derivative, in k, have keys in common.
    """
    torch.set_num_threads(1)
    x = torch.randn(4, 32, WIDTH, generator=torch.Generator().manual_seed(0))
    make, found = functools.partial(nn.Sequential, nn.LayerNorm(WIDTH)), []
    for draw in range(DRAWS):
        torch.manual_seed(draw)
        heads, seen = Heads(), []
        heads.query.register_forward_hook(lambda m, a, y, seen=seen: seen.append(y))
        y = make(heads)(x)
        found.append(float(torch.autograd.grad(y, seen, torch.randn_like(y))[0].square().mean().log()))
    told = sg.predict(lambda: nn.Sequential(nn.LayerNorm(WIDTH), Heads()), x)["1.query"].grad_q
    assert abs(np.log(told) - np.median(found)) < 2 / WIDTH + 5 * 1.2533 * np.std(found) / DRAWS**0.5
