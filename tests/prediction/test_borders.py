"""What borders take of a signal over positions, and what places have in common there: against draws and exact sums."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.prediction import predict, run
from steadygrad.prediction.field import Field
from steadygrad.prediction.inputs import examples_of
from steadygrad.prediction.operators import convolution
from steadygrad.prediction.spread import Noises
from steadygrad.prediction.taps import Taps, apart, everywhere

PLACES, UNITS, DEPTH, EXAMPLES, DRAWS = 8, 32, 12, 2, 1000


def rectified(depth, inputs, units, layer, pool=None):
    convolutions = [layer(units if i else inputs, units, 3, padding=1) for i in range(depth)]
    for part in convolutions:
        nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
        nn.init.zeros_(part.bias)
    return nn.Sequential(*(m for part in convolutions for m in (part, nn.ReLU())), *([pool] if pool else []))


def drawn_logs(x):
    """Logs of the mean square in front of each layer, and of what its windows meet of it, [draws, layers, 2]."""
    generator, h, rows = torch.Generator().manual_seed(1), x.expand(DRAWS, -1, -1, -1), []
    met = torch.tensor([2.0, *[3.0] * (PLACES - 2), 2.0])
    for _ in range(DEPTH):
        squares = h.square().mean((1, 2))
        rows.append(torch.stack([squares.mean(1), (squares * met).mean(1)], 1).log())
        weight = torch.randn(DRAWS, UNITS, 3 * UNITS, generator=generator) * (2 / (3 * UNITS)) ** 0.5
        windows = nn.functional.pad(h, (1, 1)).unfold(3, 3, 1).permute(0, 2, 4, 1, 3).reshape(DRAWS, 3 * UNITS, -1)
        h = (weight @ windows).relu().reshape(DRAWS, UNITS, EXAMPLES, PLACES).transpose(1, 2)
    return torch.stack(rows, 1).double().numpy()


def test_what_borders_take_goes_with_the_size_of_a_draw(monkeypatch):
    """By how much the variance of log q grows where zeros are met, all layers together: within five standard errors."""
    torch.set_num_threads(1)
    x = torch.randn(EXAMPLES, UNITS, PLACES, generator=torch.Generator().manual_seed(0))
    logs = drawn_logs(x)
    squares = (logs - logs.mean(0)) ** 2
    grown = (squares[..., 1] - squares[..., 0]).sum(1)
    found, lost = [], convolution.lost

    def watched(m, met, noises):
        after = lost(m, met, noises)
        found.append(noises.of(after.spread)[1] - noises.of(m.spread)[1])
        return after

    monkeypatch.setattr(convolution, "lost", watched)
    predict(lambda: rectified(DEPTH, UNITS, UNITS, nn.Conv1d), x)
    assert sum(found[:DEPTH]) == pytest.approx(grown.mean(), abs=5 * grown.std() / DRAWS**0.5)
    assert grown.mean() > 10 * grown.std() / DRAWS**0.5


def covariances(x, depth):
    """E[x x'] over all pairs of places of all examples, [examples, h, w, examples, h, w], of wide rectified layers."""
    k = torch.einsum("bcij,dckl->bijdkl", x, x).double().numpy() / x.shape[1]
    h, w = x.shape[2:]
    for _ in range(depth):
        z = np.zeros_like(k)
        for i, j in itertools.product((-1, 0, 1), repeat=2):
            to = slice(max(0, -i), h - max(0, i)), slice(max(0, -j), w - max(0, j))
            of = slice(max(0, i), h + min(0, i)), slice(max(0, j), w + min(0, j))
            z[:, to[0], to[1], :, to[0], to[1]] += k[:, of[0], of[1], :, of[0], of[1]] * (2 / 9)
        size = np.sqrt(np.einsum("bijbij->bij", z))
        size = size[..., None, None, None] * size
        c = np.clip(z / size, -1, 1)
        k = size * (np.sqrt(1 - c * c) + c * (math.pi - np.arccos(c))) / (2 * math.pi)
    return k


@pytest.fixture(scope="module")
def images():
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_mean_over_all_places_keeps_what_they_have_in_common_whatever_their_lengths(images):
    """Behind ten padded layers, of the exact sum over all pairs of places: within 0.02 of its log."""
    depth, wide = 10, 4096
    pooled = predict(lambda: rectified(depth, 3, wide, nn.Conv2d, nn.AdaptiveAvgPool2d(1)), images).layers[-1]
    exact = np.einsum("bijbkl->b", covariances(images, depth)).mean() / 64**2
    assert math.log(pooled.q) == pytest.approx(math.log(exact), abs=0.02)


def test_a_mean_over_all_places_keeps_that_examples_differ_in_length(images):
    """1 - c of two examples, of the exact sums: what lags say of it is approximate, within 0.3 of its log."""
    depth, wide = 6, 4096
    pooled = predict(lambda: rectified(depth, 3, wide, nn.Conv2d, nn.AdaptiveAvgPool2d(1)), images).layers[-1]
    products = np.einsum("bijdkl->bd", covariances(images, depth))
    own, other = np.trace(products) / 4, (products.sum() - np.trace(products)) / 12
    assert math.log(1 - pooled.c) == pytest.approx(math.log(1 - other / own), abs=0.3)


def test_sums_over_places_vary_by_all_pairs():
    rng = np.random.default_rng(0)
    by_lag, weights = rng.random((4, 5)), rng.standard_normal((3, 4, 5))
    field = Field(np.ones((4, 5)), np.zeros((4, 5)), np.zeros((4, 5)), together=by_lag)
    places = list(itertools.product(range(4), range(5)))
    expected = [
        sum(w[p] * w[r] * by_lag[abs(p[0] - r[0]), abs(p[1] - r[1])] for p in places for r in places) for w in weights
    ]
    assert field.of_sums(weights) == pytest.approx(expected)


@pytest.mark.parametrize("exponent", [1.0, 0.0, 2.0])
def test_lengths_of_places_are_no_part_of_what_they_have_in_common(exponent):
    """Places of one direction, whatever their lengths, are correlated by 1, behind a power too."""
    share = np.array([0.5, 1.0, 2.0, 0.5])
    alike = Field(np.ones(4), np.zeros(4), np.zeros(4)).shaped(share)
    assert np.array(alike.powered(exponent).correlations) == pytest.approx(1.0)
    assert alike.overlap_of_all(3) == pytest.approx(1.0)
    assert alike.average(np.array([0.0, 1.0, *[0.0] * 126]), 3) == pytest.approx(1.0)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("size", "kernel", "stride", "padding", "dilation"), [(9, 3, 1, 1, 1), (10, 4, 2, 3, 2)])
def test_windows_at_a_border_are_nearer_to_each_other(size, kernel, stride, padding, dilation, transposed):
    reach = dilation * (kernel - 1) + 1
    out = (size - 1) * stride - 2 * padding + reach if transposed else (size + 2 * padding - reach) // stride + 1
    taps = Taps(size, out, kernel, stride, padding, dilation, transposed)
    place, inside = taps.places()
    expected = np.zeros((out, size))
    for o, r in itertools.product(range(out), repeat=2):
        far = abs(place[o][inside[o]][:, None] - place[r][inside[r]])
        lag, pairs = abs(o - r), sum(abs(i - j) == abs(o - r) for i in range(out) for j in range(out))
        for distance in far.ravel():
            expected[lag, distance] += 1 / far.size / pairs
    assert apart(taps).toarray() == pytest.approx(expected)


def test_windows_inside_are_as_far_apart_as_everywhere():
    taps = Taps(12, 8, 5, 1, 0, 1, False)
    assert apart(taps).toarray() == pytest.approx(everywhere(12, 5, 1).toarray()[:8])
    longer = Taps(3000, 2996, 5, 1, 0, 1, False)
    assert apart(longer).toarray()[1] == pytest.approx(everywhere(3000, 5, 1).toarray()[1])


def test_a_line_behind_a_bias_that_all_places_share_varies_as_what_it_is_given(images):
    """Uniform biases have a fourth cumulant, which places share however little else they do: within 3%."""

    def network():
        model = nn.Sequential(nn.Conv2d(3, 64, 1), nn.LeakyReLU(1.0))
        nn.init.normal_(model[0].weight, std=0.3)
        nn.init.uniform_(model[0].bias, -1, 1)
        return model

    given, behind = predict(network, images)
    assert math.log(behind.q_high / behind.q_low) == pytest.approx(math.log(given.q_high / given.q_low), rel=0.03)


def test_how_far_gradients_lie_along_a_few_outputs_varies_by_their_lengths():
    """Over draws of W and δ, of the share of Wᵀδ that lies along x: five standard errors, and 1/K of it."""
    units, outputs, examples, count = 64, 10, 4, 20_000
    x = torch.randn(1, units, generator=torch.Generator().manual_seed(0)).repeat(examples, 1)
    rng = np.random.default_rng(0)
    weight, delta = rng.standard_normal((count, outputs, units)), rng.standard_normal((count, examples, outputs))
    back = delta @ weight
    along = ((back @ x[0].numpy()) ** 2).sum(1) / (back**2).sum((1, 2))
    off = (along / along.mean() - 1) ** 2
    seen = []

    def watched(output, interpreter):
        seen.append((interpreter.noises, found(output, interpreter)))
        return seen[-1][1]

    found, run._meeting = run._meeting, watched
    try:
        predict(lambda: nn.Sequential(nn.Linear(units, outputs, bias=False)), x)
    finally:
        run._meeting = found
    noises, bend = seen[0]
    assert isinstance(noises, Noises)
    form = replace(noises.fresh(0.0), weights=bend.along)
    assert noises.of(form)[1] == pytest.approx(off.mean(), abs=5 * off.std() / count**0.5 + off.mean() / outputs)


def test_what_a_gradient_has_along_its_signal_comes_to_lie_in_the_middle():
    """By distance from the border, with what stands at each place relative to the mean of all, over all draws."""
    x = torch.randn(EXAMPLES, UNITS, PLACES, PLACES, generator=torch.Generator().manual_seed(0))
    make = lambda: rectified(DEPTH, UNITS, UNITS, nn.Conv2d, nn.AdaptiveAvgPool2d(1))  # noqa: E731
    edge = np.minimum(np.arange(PLACES), np.arange(PLACES)[::-1])
    near = np.minimum(edge[:, None], edge)
    torch.manual_seed(0)
    found = np.array([by_distance(squared_gradient(make(), x), near) for _ in range(DRAWS // 4)])
    whole, examples = found @ np.bincount(near.ravel()) / near.size, examples_of(x)
    with run.interpreting(examples.batch) as running:
        first, *_ = run.interpreted(make, examples, running).rows
    predicted = by_distance(first.gradient.moments.field.share, near)
    drawn = found.mean(0) / whole.mean()
    error = (found - whole[:, None] * drawn).std(0) / whole.mean() / math.sqrt(len(found))
    assert (abs(predicted - drawn) < 5 * error).all(), (predicted, drawn, error)


def squared_gradient(model, x):
    """Of independent normal entries at the output, with respect to the first layer's, [*positions]."""
    first = model[0](x)
    output = model[1:](first)
    (gradient,) = torch.autograd.grad(output, first, torch.randn_like(output))
    return gradient.square().sum((0, 1)).numpy()


def by_distance(values, near):
    """Means over the places as near to the border."""
    return np.array([values[near == n].mean() for n in range(near.max() + 1)])
