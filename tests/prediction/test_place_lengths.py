"""What layer norms divide places by, and what they leave of gradients, against draws."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import steadygrad as sg
from steadygrad.prediction.field import white
from steadygrad.prediction.inputs import examples_of
from steadygrad.prediction.operators import place_lengths
from steadygrad.prediction.operators.arithmetic import _lengths
from steadygrad.prediction.run import interpreting
from steadygrad.prediction.spread import CERTAIN
from steadygrad.prediction.values import Moments

WIDTH, DRAWS = 64, 200
X = torch.randn(4, 8, WIDTH, generator=torch.Generator().manual_seed(0))


class Behind(nn.Module):
    """A layer norm behind a sum."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x):
        return self.norm(x + self.layer(x))


class Front(Behind):
    """A layer norm in front of a branch."""

    def forward(self, x):
        return x + self.layer(self.norm(x))


@pytest.mark.parametrize(("block", "part"), [(Behind, ".norm"), (Front, None), (lambda: nn.LayerNorm(WIDTH), "")])
def test_gradients_behind_norms_are_as_large_as_in_draws(block, part):
    """The median of a log, at each of six layers, to 1% or five errors: of places that norms have made of one length,
    a norm leaves all; of n Gaussian features E[1/s²] is n/(n - 3), which six times is 0.3.
    """
    torch.set_num_threads(1)

    def make():
        return nn.Sequential(nn.Linear(WIDTH, WIDTH), *(block() for _ in range(6)), nn.Linear(WIDTH, 10))

    found = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        seen, model = [], make()
        for layer in list(model)[:-1]:
            layer.register_forward_hook(lambda m, a, y, seen=seen: seen.append(y))
        y = model(X)
        found.append([float(g.square().mean().log()) for g in torch.autograd.grad(y, seen, torch.randn_like(y))])
    profile = sg.predict(make, X)
    paths = ["0", *(f"{i}{part}" for i in range(1, 7) if part is not None)]  # in front of branches that of the stream
    told, logs = np.log([profile[path].grad_q for path in paths]), np.array(found)[:, : len(paths)]
    off = told - np.median(logs, 0)
    assert (abs(off) < np.maximum(0.01, 5 * 1.2533 * logs.std(0) / DRAWS**0.5)).all()


def test_what_two_places_have_in_common_is_divided_by_both():
    """Of lognormal lengths and one gradient at both, over 20,000 draws: to five errors and what 1/n² leaves."""
    draws, v, c, rng = 20_000, 0.1, 0.04, np.random.default_rng(0)
    logs = rng.multivariate_normal([-v / 2, -v / 2], [[v, c], [c, v]], draws)
    x = rng.standard_normal((draws, 2, WIDTH))
    x -= x.mean(-1, keepdims=True)
    x *= (np.exp(logs) / (x * x).mean(-1))[..., None] ** 0.5
    g, size = rng.standard_normal((draws, 1, WIDTH)), (x * x).mean(-1, keepdims=True)
    back = (g - g.mean(-1, keepdims=True) - x * (x * g).mean(-1, keepdims=True) / size) / size**0.5
    own, both = (back**2).mean((1, 2)), (back[:, 0] * back[:, 1]).mean(-1)
    lengths = np.expm1(np.array([v, c]))
    before = replace(white((2,), 1.0, 1.0, 1.0), lengths=lengths)
    left = place_lengths.in_common(before, white((2,), 1.0, 1.0, 1.0), WIDTH)
    ratio = both.mean() / own.mean()
    error = (both / both.mean() - own / own.mean()).std() / draws**0.5
    assert left[0, 1] == pytest.approx(ratio, rel=5 * error + 9 / WIDTH**2)
    assert left[0, 0] == pytest.approx(1 - (3 - 1) / WIDTH + 2 / WIDTH, rel=9 / WIDTH**2)


def test_gradients_lose_what_is_said_of_what_places_have_in_common():
    field = white((3,), 0.5, 0.75, 0.75)
    m = Moments(np.zeros(2), np.ones(2), 0.75 * (1 - np.eye(2)), CERTAIN, field=field)
    left = np.array([[1.0, 0.9, 0.8], [0.7, 0.6, 0.5]])
    found = place_lengths.thinned(m, left, examples_of(X[:2]).batch)
    np.testing.assert_allclose(1 - found.field.within, [1.0, 0.45, 0.4])
    np.testing.assert_allclose(1 - found.field.across, [0.175, 0.15, 0.125])
    np.testing.assert_allclose(1 - found.d, [[1.0, 0.175], [0.175, 1.0]])


@pytest.mark.parametrize(("inherited", "settled"), [((0.0, 0.0), True), ((0.0, 0.0), False), ((0.1, 0.05), False)])
def test_lengths_of_sums_vary_as_in_draws(inherited, settled):
    """Of a term of one length, of Gaussian ones, and of ones whose lengths are large in the same draws."""
    draws, shares, rng = 20_000, (0.7, 0.3), np.random.default_rng(0)
    at = rng.standard_normal(draws)
    x, y = (
        rng.standard_normal((draws, WIDTH)) * np.exp(at * s**0.5 / 2 - s / 4)[:, None] * share**0.5
        for s, share in zip(inherited, shares, strict=True)
    )
    x = x / (x * x).mean(-1, keepdims=True) ** 0.5 * shares[0] ** 0.5 if settled else x
    squares = ((x + y) ** 2).mean(-1)
    own = [0.0 if settled and i == 0 else 2 / WIDTH + math.expm1(s) * (1 + 2 / WIDTH) for i, s in enumerate(inherited)]
    fields = (replace(white((1,), 0.0, 0.0, 0.0), lengths=v) for v in own)
    terms = tuple(Moments(np.zeros(1), np.ones(1), np.zeros((1, 1)), CERTAIN, field=f) for f in fields)
    with interpreting(examples_of(X).batch) as run:
        found = float(_lengths(terms, shares, WIDTH, run.noises)[0])
    fourth = ((squares - squares.mean()) ** 4).mean() / squares.var() ** 2
    error = ((fourth - 1) / draws) ** 0.5
    assert found == pytest.approx(squares.var() / squares.mean() ** 2, rel=5 * error + 2 / WIDTH)
