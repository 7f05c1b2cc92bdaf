"""How the mean over positions varies: predicted deviations within five errors of those of draws."""

import functools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.prediction import each_pair, of_mean
from steadygrad.prediction.field import white
from steadygrad.prediction.handed_back import along_and_left, of_weighted_mean
from steadygrad.prediction.inputs import examples_of
from steadygrad.prediction.readout import deviation
from steadygrad.prediction.run import interpreted, interpreting

DRAWS = 300
ERRORS = 5 / math.sqrt(2 * DRAWS)  # of the log of a deviation
X = torch.randn(4, 16, 64, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    """Attention behind a layer norm, added to its input."""

    def __init__(self, causal):
        super().__init__()
        self.norm, self.qkv, self.out, self.causal = nn.LayerNorm(64), nn.Linear(64, 192), nn.Linear(64, 64), causal

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).view(4, 16, 3, 4, 16).permute(2, 0, 3, 1, 4)
        met = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return x + self.out(met.transpose(1, 2).reshape(x.shape))


def blocks(causal):
    return nn.Sequential(nn.Linear(64, 64), *(Block(causal) for _ in range(3)), nn.LayerNorm(64), nn.Linear(64, 10))


def norms():
    return nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64))


def drawn(make, measure):
    """What is measured of outputs and gradients of all calls, [draws, rows, 2]."""
    torch.set_num_threads(1)
    found = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        model, seen = make(), []
        for module in model.modules():
            if not list(module.children()):
                module.register_forward_hook(lambda m, a, y, seen=seen: seen.append(y))
        y = model(X)
        gradients = torch.autograd.grad(y, seen, torch.randn_like(y))
        found.append([[measure(t.detach()) for t in pair] for pair in zip(seen, gradients, strict=True)])
    return np.array(found)


def predicted(make, read):
    examples = examples_of(X)
    with interpreting(examples.batch) as run:
        rows = interpreted(make, examples, run).rows
        return np.array([[read(value, run) for value in (row.output, row.gradient)] for row in rows])


def size(x):
    return float(x.double().square().mean().log())


@pytest.mark.parametrize("causal", [False, True])
def test_a_stream_whose_mean_is_large_keeps_it_large(causal):
    """So what attention makes of it, and sends back, varies by as much as all layers before let its mean vary."""
    make = functools.partial(blocks, causal)
    real, told = drawn(make, size).std(0), predicted(make, deviation)
    varied = real > 1e-3
    assert varied.sum() > 15
    assert abs(np.log(told[varied] / real[varied])).max() < ERRORS


def test_the_mean_of_tokens_varies_as_it_does_in_draws():
    """Beside their own size, forward and backward through matrices, a norm and a function."""

    def measure(x):
        return size(x.mean(1)) - size(x)

    def read(value, run):
        field = value.moments.field
        form = field.of_mean if field is not None else None  # of what is sent back to the output, before it is met
        return math.nan if form is None else math.sqrt(run.noises.covariance(form, form)[0])

    real, told = drawn(norms, measure)[:, :-1].std(0), predicted(norms, read)[:-1]
    linear = [0, 1, 2]  # of a function what its own units add is left away
    assert abs(np.log(told[linear, 0] / real[linear, 0])).max() < ERRORS
    assert abs(np.log(told[:, 1] / real[:, 1])).max() < 2 * ERRORS


def test_means_of_the_first_tokens_have_products_of_their_own():
    """Told in full, and by lag on average."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((9, 7))
    k = x @ x.T / 7
    means = np.tril(np.ones((9, 9))) / np.arange(1, 10)[:, None] @ x
    np.testing.assert_allclose(each_pair.of_means(k), means @ means.T / 7)
    told = each_pair.told(white((9,), 0.5, 0.5, 0.5), np.stack([k, k[::-1]]) / np.diagonal(k).mean())
    assert told.within[3] == pytest.approx(1 - np.diagonal(k, 3).mean() / np.diagonal(k).mean())
    assert told.across[3] == pytest.approx(1 - np.diagonal(k[::-1], 3).mean() / np.diagonal(k).mean())
    np.testing.assert_allclose(each_pair.known(told), told.products)
    own, two = each_pair.of_first(k)
    assert own[4] == pytest.approx(np.diagonal(k)[:5].mean())
    assert two[4] == pytest.approx((k[:5, :5].sum() - np.trace(k[:5, :5])) / 20)


def test_what_a_causal_mask_hands_back_goes_with_the_mean_as_drawn_gradients_do():
    """Of 512 features, to first order; over 4000 draws a slope is known within √(left/V/4000)."""
    count, features, draws = 8, 512, 4000
    p = np.tril(np.ones((count, count))) / np.arange(1, count + 1)[:, None]
    s, left = along_and_left(np.eye(count), p, (p**2).sum(1), np.zeros(count))
    w, beside = of_weighted_mean(np.eye(count), p.mean(0))
    g = np.random.default_rng(0).standard_normal((draws, count, features))
    own, mean, keys, first = (
        np.log((y**2).mean((1, 2))) for y in (g, g.mean(1, keepdims=True), p.T @ g,
                                              np.einsum("t,dtn->dn", p.mean(0), g)[:, None])
    )  # fmt: skip
    for slope, rest, after in ((s, left, keys), (w, beside, first)):
        rest *= 2 / features
        known = np.var(mean - own)
        assert np.polyfit(mean - own, after - own, 1)[0] == pytest.approx(slope, abs=5 * (rest / known / draws) ** 0.5)
        assert np.var(after - own - slope * (mean - own)) == pytest.approx(rest, rel=5 * (2 / draws) ** 0.5)


def test_a_noise_goes_with_that_of_the_mean_and_is_no_larger_for_it():
    with interpreting(examples_of(X).batch) as run:
        mean, noise = run.noises.fresh(0.01), run.noises.fresh(0.001)
        found = of_mean.going_with(noise, mean, 0.2, run.noises)
        assert run.noises.covariance(found, found)[0] == pytest.approx(run.noises.covariance(noise, noise)[0])
        assert run.noises.covariance(found, mean)[0] == pytest.approx(0.2 * run.noises.covariance(mean, mean)[0])
