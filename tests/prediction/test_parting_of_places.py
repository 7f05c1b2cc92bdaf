"""How far examples lie apart in convolutional networks, against draws of them and against quadrature."""

import functools

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import nn

from steadygrad.prediction import predict
from steadygrad.prediction.batch import Batch, exchangeable
from steadygrad.prediction.field import Field
from steadygrad.prediction.parting_of_places import Parted, at_places, joint, lengths_of_draws
from steadygrad.prediction.spread import CERTAIN
from steadygrad.prediction.values import Moments

WIDTH, DRAWS = 32, 600
OF_WIDE_LAYERS = 0.01  # of 1 - c: lengths and angles of places are taken as independent
IMAGES = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def conv(inputs, gain, bias=0.0, **how):
    layer = nn.Conv2d(inputs, WIDTH, 3, **how)
    nn.init.normal_(layer.weight, std=(gain / (9 * inputs)) ** 0.5)
    if bias:
        nn.init.normal_(layer.bias, std=bias)
    else:
        nn.init.zeros_(layer.bias)
    return layer


def stack(depth, activation, gain, pool=None, **how):
    layers = [part for i in range(depth) for part in (conv(WIDTH if i else 3, gain, **how), activation())]
    return nn.Sequential(*layers[:2], *([pool()] if pool else []), *layers[2:])


LEAKY = functools.partial(nn.LeakyReLU, 0.2)
MEANS = functools.partial(nn.AvgPool2d, 2)
NETWORKS = {
    "relu": functools.partial(stack, 8, nn.ReLU, 2.0, padding=1),
    "relu, no padding": functools.partial(stack, 2, nn.ReLU, 2.0),
    "relu, strides": functools.partial(stack, 3, nn.ReLU, 2.0, padding=1, stride=2),
    "relu, means": functools.partial(stack, 3, nn.ReLU, 2.0, MEANS, padding=1),
    "leaky relu": functools.partial(stack, 4, LEAKY, 1.9, padding=1),
    "tanh": functools.partial(stack, 4, nn.Tanh, 1.0, padding=1),
    "gelu": functools.partial(stack, 4, nn.GELU, 2.0, padding=1),
    "relu, biases": functools.partial(stack, 4, nn.ReLU, 1.0, bias=1.0, padding=1),
}


@torch.no_grad()
def drawn(make):
    """Logs of 1 - c of each module's output, [draws, rows]."""
    found = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        x, logs = IMAGES, []
        for layer in make():
            x = layer(x)
            logs.append(float((x.var(0).mean() / x.square().mean()).log()))
        found.append(logs)
    return np.array(found)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_median_draw_has_the_predicted_distance_of_examples(name):
    """Within four standard errors, and what wide layers are off by (below)."""
    make = NETWORKS[name]
    torch.set_num_threads(1)
    logs = drawn(make)
    off = np.log([row.signal / row.q for row in predict(make, IMAGES)]) - np.median(logs, 0)
    error = 4 * 1.2533 * logs.std(0) / DRAWS**0.5 + OF_WIDE_LAYERS
    assert (abs(off) <= error).all(), (off, error)


def products(x, y, f):
    """E[f f'] of Gaussians of these covariances, [places]: variances x, y as (own, other), covariance."""
    (a, b), c = x, (y / np.sqrt(x[0] * x[1])).clip(-1, 1)[:, None, None]
    t, w = hermegauss(32)
    w = w / w.sum()
    first = np.sqrt(a)[:, None] * t
    second = np.sqrt(b)[:, None, None] * (c * t[:, None] + np.sqrt(1 - c**2) * t)
    return np.einsum("pi,pij,i,j->p", f(first), f(second), w, w)


def of_wide_layers(x, gain, depth, pad, f):
    """1 - c behind each layer's sums and function where layers are wide: covariances of each place, Gaussian."""
    size, found = len(x), []
    gram = torch.einsum("bchw,dchw->bdhw", x, x) / x.shape[1]
    for _ in range(depth):
        flat = nn.functional.conv2d(gram.flatten(0, 1)[:, None], torch.ones(1, 1, 3, 3) / 9, padding=pad)
        found.append(apart(k := gain * flat[:, 0].unflatten(0, (size, size))))
        gram = torch.zeros_like(k)
        for b in range(size):
            for d in range(size):
                lengths = k[b, b].numpy().ravel(), k[d, d].numpy().ravel()
                gram[b, d] = torch.from_numpy(products(lengths, k[b, d].numpy().ravel(), f)).reshape(k.shape[2:])
        found.append(apart(gram))
    return found


def apart(gram):
    size = len(gram)
    q, whole = sum(float(gram[b, b].mean()) for b in range(size)) / size, float(gram.mean((2, 3)).sum())
    return 1 - (whole / size - q) / (size - 1) / q


@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize(("activation", "f"), [(nn.Tanh, np.tanh), (nn.Softplus, lambda z: np.log1p(np.exp(z)))])
def test_wide_layers_have_the_covariances_of_all_places(activation, f, pad):
    """Within a hundredth a layer, where borders are of zeros and images are darker on one side."""
    x, wide = IMAGES[:5].clone(), 1 << 16
    x[:, :, 3:] /= 2

    def make():
        layers = [nn.Conv2d(wide if i else 3, wide, 3, padding=pad, bias=False) for i in range(2)]
        for layer in layers:
            nn.init.normal_(layer.weight, std=(2 / (9 * layer.in_channels)) ** 0.5)
        return nn.Sequential(*(part for layer in layers for part in (layer, activation())))

    rows = [row.signal / row.q for row in predict(make, x)]
    assert rows == pytest.approx(of_wide_layers(x, 2.0, 2, pad, f), rel=2 * OF_WIDE_LAYERS)


def test_lengths_that_differ_are_no_angle():
    """Of vectors with γ between them and lognormal lengths 1 - c is 1 - (1 - γ)(1 + V)^(-1/4), and back."""
    variance, angle, batch = 0.3, 0.4, exchangeable(8)
    t, w = hermegauss(40)
    w, x = w / w.sum(), np.exp(variance**0.5 * t)  # of squared lengths
    common = (1 - angle) * (w @ np.sqrt(x)) ** 2 / (w @ x)
    parted = Parted(np.full((1,), np.expm1(variance)), np.zeros(1), np.zeros(1))
    gap = np.array([[0.0, 1 - common], [1 - common, 0.0]])
    gamma = parted.angle(gap, batch)
    assert gamma[0, 1] == pytest.approx(angle, rel=1e-12)
    assert parted.whole(gamma, np.ones(2), batch) == pytest.approx(gap, rel=1e-12)


def each(size):
    return Batch(size, np.arange(size), np.arange(size))


def moments(q, gap, parted):
    """Of one place, zero on average; γ of all pairs is `gap`."""
    off = (q[:, None] + q) / 2 - np.sqrt(np.outer(q, q)) * (1 - gap)
    d = parted.whole(off, q, each(len(q)))
    one = np.ones(1)
    return Moments(np.zeros(len(q)), q, d, CERTAIN, field=Field(one, 0 * one, gap * one, parted=parted))


MANY = 100_000


def test_the_median_of_angles_and_lengths_is_that_of_their_sum():
    """Within four standard errors, and the second order of 1 - e^(-v/4), what log lengths that vary by v take.

    Angles are lognormal, lengths fixed ones of data times lognormal ones of the draws, in D = γ (1 - u) + u.
    """
    rng, typical, variance, drifted = np.random.default_rng(0), 0.02, 0.4, 0.03
    q = np.exp(np.array([-0.25, -0.05, 0.05, 0.25]))
    parted = Parted(np.full(1, drifted), np.zeros(1), np.zeros(1), variance, drifted=drifted)
    log_lengths = np.log(q) + drifted**0.5 * rng.standard_normal((MANY, 4))
    roots = np.exp(log_lengths / 2)
    whole = (roots**2).sum(1)
    u = 1 - (roots.sum(1) ** 2 - whole) / (3 * whole)
    gamma = typical * np.exp(variance**0.5 * rng.standard_normal(MANY))
    logs = np.log(gamma * (1 - u) + u)
    m = moments(q, typical, parted)
    found = parted.median(m, m.field, each(4))
    error, v = 4 * 1.2533 * logs.std() / MANY**0.5, float(np.var(np.log(q)) + drifted)
    assert np.log(found) == pytest.approx(np.median(logs), abs=error + v**2 / 32 / found)


def test_lengths_of_a_draw_vary_as_a_noncentral_chi_square():
    """The variance exactly, the median to first order of Cornish and Fisher: of three directions within a fiftieth."""
    rng, fixed, drifted = np.random.default_rng(0), np.array([0.3, 0.0, 0.0]), 0.02
    found = ((fixed + drifted**0.5 * rng.standard_normal((MANY, 3))) ** 2).sum(1) / 3
    variance, below = lengths_of_draws(float(found.mean()), drifted, exchangeable(4))
    assert variance == pytest.approx(found.var(), rel=4 * 3 / MANY**0.5)
    assert found.mean() - below == pytest.approx(np.median(found), rel=0.02)


def test_a_bias_makes_more_of_draws_that_are_small():
    """D' = D q/(q + b) of lognormal D and q that go together: its typical value, and how its log varies.

    Within four standard errors, and what is of second order in the variance of log q for what is linear in log q.
    """
    rng, share, size, variance, with_size = np.random.default_rng(0), 0.3, 0.05, 0.04, -0.02
    x = rng.multivariate_normal([0, 0], [[variance, with_size], [with_size, size]], MANY)
    y = np.exp(x[:, 1] - size / 2)
    logs, log_q = np.log(0.1) + x[:, 0] + np.log(share * y / (share * y + 1 - share)), np.log(share * y + 1 - share)
    parted = Parted(np.zeros(1), np.zeros(1), np.zeros(1), variance, with_size)
    m = moments(np.ones(2), 0.1, parted)
    field, gap = at_places(m, share * m.d, share, size, exchangeable(2))
    assert np.log(gap[0, 1]) == pytest.approx(logs.mean(), abs=4 * logs.std() / MANY**0.5)
    error = 4 * 2**0.5 / MANY**0.5
    assert field.parted.variance == pytest.approx(logs.var(), abs=logs.var() * error + size**2)
    assert field.parted.with_size == pytest.approx(np.cov(logs, log_q)[0, 1], abs=variance * error + size**2)


@pytest.mark.parametrize("common", [-0.5, 0.0, 0.7, 1.0])
def test_products_at_two_places_are_those_of_correlated_gaussians(common):
    x, w = hermegauss(48)
    w = w / w.sum()

    def f(m):
        return np.exp(m / 2)

    def g(m):
        return m**2 + m

    other = common * x[:, None] + (1 - common**2) ** 0.5 * x
    expected = (w * f(x)) @ g(other) @ w
    assert joint(f(x), g(x), np.array([common]))[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("pool", [None, functools.partial(nn.MaxPool2d, 2)], ids=["plain", "behind a max pool"])
@pytest.mark.parametrize("bias", [-6.0, 1.0])
def test_a_number_that_is_added_to_all_changes_no_difference(bias, pool):
    """What differs between examples is q(1 - c), however much of q is a bias that is one number."""

    def make(bias):
        model = stack(2, nn.ReLU, 2.0, pool, padding=1)[:-1]
        nn.init.constant_(model[-1].bias, bias)
        return model

    beside, alone = (list(predict(functools.partial(make, b), IMAGES))[-1].signal for b in (bias, 0.0))
    assert beside == pytest.approx(alone, rel=0.05)  # a typical draw's, as it is with the signal's own size
