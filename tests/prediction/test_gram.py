"""Products of every two places of a few small images, against explicit sums, closed forms and draws."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.prediction import gram_of_sums, predict
from steadygrad.prediction.gram import MOST, Gram, of_data
from steadygrad.prediction.hermite import tables
from steadygrad.prediction.taps import Taps, met_by

from .test_pooled_means import DRAWS, drawn

ROUNDING = 1e-12
BETWEEN_NODES = 2e-4  # of a difference: of a grid of 257 correlations, and where coefficients lie between two levels
OF_PLACES = 0.07  # of 1 - c: what finite width does to differences of places is not all that it does to their means


def images(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def gram_of(x):
    found = of_data(x.movedim(1, -1).numpy())
    assert found is not None
    return found


def kernel(gram):
    """K of every two entries of the first block."""
    half = gram.entries[0] / 2
    return half[:, None] + half - gram.gaps[0]


def explicit(x):
    """The same of images, relative to its mean square."""
    rows = x.movedim(1, -1).reshape(-1, x.shape[1])
    found = (rows @ rows.T).numpy()
    return found / found.diagonal().mean()


def test_data_have_their_own_products():
    x = images(3, 2, 4, 5)
    np.testing.assert_allclose(kernel(gram_of(x)), explicit(x), atol=ROUNDING)


@pytest.mark.parametrize("how", [{}, {"padding": 1}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": 2}])
def test_windows_add_the_products_of_their_taps(how):
    """Those of a convolution with weights of one variance, a border being zeros."""
    x, how = images(2, 3, 5, 6), {"stride": 1, "padding": 0, "dilation": 1} | how
    taps = nn.functional.unfold(x, 3, **how)  # [examples, features times taps, windows]
    rows = taps.transpose(1, 2).reshape(-1, taps.shape[1])
    expected = (rows @ rows.T).numpy()
    sizes = [(n + 2 * how["padding"] - 2 * how["dilation"] - 1) // how["stride"] + 1 for n in x.shape[2:]]
    axes = tuple(
        Taps(n, out, 3, *(how[k] for k in ("stride", "padding", "dilation")), False)
        for n, out in zip(x.shape[2:], sizes, strict=True)
    )
    found = gram_of(x).summed(met_by(axes))
    np.testing.assert_allclose(kernel(found), expected / expected.diagonal().mean(), atol=ROUNDING)


def test_a_transposed_convolution_meets_the_places_that_torch_says():
    """By an image of ones at one place at a time: what the kernel of ones makes of it."""
    taps = Taps(3, 6, 4, 2, 1, 1, transposed=True)
    met = met_by((taps,))
    expected = nn.functional.conv_transpose1d(torch.eye(3)[:, None], torch.ones(1, 1, 4), stride=2, padding=1)[:, 0]
    found = [[(met[:, window] == place).sum() for window in range(6)] for place in range(3)]
    assert expected.tolist() == found


def test_means_over_places_keep_no_more_digits_than_they_have():
    """Images that are alike but for 1e-6: D of their means by explicit differences."""
    base, x = images(1, 4, 6), images(3, 4, 6, seed=1)
    x = base + 1e-6 * x
    weights = np.random.default_rng(0).dirichlet(np.ones(6), 2)
    found = gram_of(x).averaged(weights)
    means = x.numpy() @ weights.T  # [examples, features, means]
    rows = means.transpose(0, 2, 1).reshape(6, 4)
    expected = ((rows[:, None] - rows) ** 2).mean(-1) / 2 / float(x.square().mean())
    np.testing.assert_allclose(found.gaps[0], expected, rtol=1e-3, atol=1e-16)


def test_a_batch_norm_takes_off_the_mean_over_examples_and_places():
    x = images(3, 4, 5)
    off = x - x.mean((0, 2), keepdim=True)
    np.testing.assert_allclose(kernel(gram_of(x).centred()), explicit(off), atol=ROUNDING)


def test_a_sum_of_independent_terms_adds_products():
    x, y = (gram_of(images(2, 4, 5, seed=seed)) for seed in (0, 1))
    np.testing.assert_allclose(kernel(x.mixed(0.3, y, 0.7)), 0.3 * kernel(x) + 0.7 * kernel(y), atol=ROUNDING)
    assert x.mixed(0.5, gram_of(images(2, 4, 3)), 0.5) is None


def test_a_relu_has_the_arc_cosine_kernel():
    """Of Cho and Saul 2009, equation 6: sqrt(K K') (sin t + (π - t) cos t)/(2π), t the angle."""
    x = gram_of(images(3, 2, 4))
    found = x.behind(np.maximum(tables()[0], 0.0), 0.0, 1.0, np.inf)
    np.testing.assert_allclose(kernel(found), arc_cosine(kernel(x)), atol=BETWEEN_NODES)


def arc_cosine(k):
    """E[relu relu'], twice, of Gaussians of this covariance."""
    size = np.sqrt(k.diagonal())
    angle = np.arccos(np.clip(k / np.outer(size, size), -1, 1))
    return np.outer(size, size) * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi


OF_RATIOS = 0.02  # of the mean square: coefficients are taken at the mean ratio of the sizes of a pair


@pytest.mark.parametrize(("seed", "off"), [(0, 10 * BETWEEN_NODES), (1, OF_RATIOS)])
def test_a_relu_of_a_sum_of_two_gaussians_has_the_kernel_of_their_sum(seed, off):
    """Whatever each is of it: of sizes that go together, and of such that do not."""
    one, other = (gram_of(images(3, 8, 4, seed=i)) for i in (0, seed))
    z = tables()[0]
    found = gram_of_sums.behind(one, lambda a, b: np.maximum(a * z[:, None] + b * z, 0.0), one, other)
    expected = arc_cosine(kernel(one) + kernel(other))
    np.testing.assert_allclose(kernel(found), expected / expected.diagonal().mean(), atol=off)


def test_a_bias_is_the_same_for_all_entries():
    x = gram_of(images(2, 3, 4))
    np.testing.assert_allclose(kernel(x.scaled(0.3)), 0.3 * kernel(x) + 0.7, atol=ROUNDING)


def test_a_place_without_a_signal_takes_the_weight_that_is_left():
    x, weights = images(2, 3, 4), np.array([[0.5, 0.25, 0.0, 0.0], [0.0, 0.0, 0.1, 0.2]])
    rows = (x.numpy() @ weights.T).transpose(0, 2, 1).reshape(4, 3)
    found = kernel(gram_of(x).averaged(weights))
    np.testing.assert_allclose(found, rows @ rows.T / 3 / float(x.square().mean()), atol=ROUNDING)


def test_an_erf_has_the_arc_sine_kernel():
    """Of Williams 1998, equation 10: 2/π arcsin(2K/sqrt((1 + 2K)(1 + 2K')))."""
    x, scale = gram_of(images(3, 8, 4)), 0.8
    k = kernel(x) * scale**2
    whole = 2 / np.pi * np.arcsin(2 * k / np.sqrt(np.outer(1 + 2 * k.diagonal(), 1 + 2 * k.diagonal())))
    found = x.behind(torch.erf(torch.tensor(tables()[0])).numpy(), 0.0, scale, np.inf)
    np.testing.assert_allclose(kernel(found), whole / whole.diagonal().mean(), atol=5e-3)


def test_the_argument_of_a_function_is_found_again():
    x = gram_of(images(2, 6, 3))
    relu = np.maximum(tables()[0], 0.0)
    gaps = np.linspace(0, 2, 4001)
    angle = np.arccos(1 - gaps)
    lost = 1 - (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi
    again = x.behind(relu, 0.0, 1.0, np.inf).argument(lambda found: np.interp(found, lost, gaps), 1.0)
    np.testing.assert_allclose(kernel(again), kernel(x), atol=5e-3)


def test_lengths_of_few_units_vary_as_drawn():
    """Of Gaussian units, and of their ReLU: the covariance of log squares, and E[√(l l')] in D."""
    x, units = gram_of(images(2, 2, 3)), 128
    rng, factor = np.random.default_rng(0), np.linalg.cholesky(kernel(x) + 1e-9 * np.eye(6))
    z = factor @ rng.standard_normal((4000, 6, units))
    relu = np.maximum(tables()[0], 0.0)
    for made, f in ((x.of_units(units), z), (x.behind(relu, 0.0, 1.0, units), np.maximum(z, 0.0))):
        logs = np.log((f**2).mean(-1))
        # a sixteenth for the log's own curvature; 4000 draws know a covariance of variances v to v/√2000 or so
        variance = np.diagonal(made.lengths[0]).max()
        np.testing.assert_allclose(np.cov(logs.T), made.lengths[0], atol=variance * (1 / 16 + 4 / 2000**0.5))


@pytest.mark.parametrize(("shape", "known"), [((4, 3, 8, 8), True), ((64, 3, 8, 8), True), ((4, 3, 32, 32), False)])
def test_pairs_are_kept_of_images_of_few_places(shape, known):
    found = of_data(images(*shape).movedim(1, -1).numpy())
    assert (found is not None) == known
    if isinstance(found, Gram):
        assert found.entries.shape[1] <= MOST
        assert found.whole == (shape[0] == 4)


def test_one_image_has_nothing_to_differ_from():
    assert of_data(images(1, 3, 4, 4).movedim(1, -1).numpy()) is None


@pytest.mark.parametrize("shape", [(3, 3, 16, 16), (9, 3, 11, 11)])
def test_few_pairs_do_not_stand_for_many(shape):
    """What two images have in common varies from pair to pair: a batch is known by all of them, or a dozen."""
    assert of_data(images(*shape).movedim(1, -1).numpy()) is None


def test_means_over_more_windows_than_can_be_kept_are_not():
    """48 windows along each axis of 4 images of 6 x 6 places would be 680 MB of pairs."""
    assert gram_of(images(4, 3, 6, 6)).averaged(np.full((48 * 48, 36), 1 / 36)) is None


class Scaled(nn.Module):
    """A branch that begins at nothing."""

    def __init__(self):
        super().__init__()
        self.scale, self.branch = nn.Parameter(torch.zeros(1)), conv(WIDTH, padding=1)

    def forward(self, x):
        return x + self.scale * self.branch(x)


ALIKE = {"ones": torch.ones(4, 3, 6, 6), "one image": images(1, 3, 6, 6).float().expand(4, -1, -1, -1)}


@pytest.mark.parametrize("name", ALIKE)
def test_images_that_are_all_alike_stay_so(name):
    rows = list(predict(lambda: pooled(conv(3, padding=1), nn.ReLU(), Block()), ALIKE[name].clone()))
    assert all(row.q > 0 for row in rows)
    assert [row.signal for row in rows] == pytest.approx([0.0] * len(rows), abs=1e-9)


def test_a_branch_of_nothing_leaves_all_as_it_is():
    x = images(4, 3, 6, 6).float()
    with_it = list(predict(lambda: pooled(conv(3, padding=1), nn.ReLU(), Scaled()), x))[-1]
    without = list(predict(lambda: pooled(conv(3, padding=1), nn.ReLU()), x))[-1]
    assert with_it.q == pytest.approx(without.q, rel=0.05)
    assert with_it.signal == pytest.approx(without.signal, rel=0.1)


def test_an_image_of_zeros_has_no_products():
    assert of_data(np.zeros((2, 3, 1))) is None


WIDTH = 64


def conv(inputs, gain=2.0, **how):
    layer = nn.Conv2d(inputs, WIDTH, 3, **how)
    nn.init.normal_(layer.weight, std=(gain / (9 * inputs)) ** 0.5)
    nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """A stream that is rectified, and a branch that joins it."""

    def __init__(self):
        super().__init__()
        self.branch = conv(WIDTH, padding=1)

    def forward(self, x):
        return torch.relu(x + self.branch(x))


def pooled(*layers):
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def plain(activation, gain):
    layers = [part for inputs in (3, WIDTH, WIDTH) for part in (conv(inputs, gain, padding=1), activation())]
    return pooled(*layers)


def normed():
    layers = [part for inputs in (3, WIDTH) for part in (conv(inputs, padding=1), nn.BatchNorm2d(WIDTH), nn.ReLU())]
    return pooled(*layers)


NETWORKS = {
    "relu": functools.partial(plain, nn.ReLU, 2.0),
    "gelu": functools.partial(plain, nn.GELU, 2.0),
    "tanh": functools.partial(plain, nn.Tanh, 1.0),
    "batch norm": normed,
    "residual": lambda: pooled(conv(3, padding=1), nn.ReLU(), Block(), Block()),
    "strides and means": lambda: pooled(
        conv(3, padding=1, stride=2), nn.ReLU(), nn.AvgPool2d(2), conv(WIDTH, padding=1), nn.ReLU()
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_means_over_all_places_have_the_predicted_distance_of_examples(name):
    """Of the median draw, within four standard errors and what finite width does to means alone."""
    torch.set_num_threads(1)
    make, x = NETWORKS[name], images(4, 3, 6, 6, seed=1).float()
    logs, row = drawn(make, x)[:, 1], list(predict(make, x))[-1]
    off = np.log(row.signal / row.q) - np.median(logs)
    error = 4 * 1.2533 * logs.std() / DRAWS**0.5
    assert abs(off) <= error + OF_PLACES, (off, error)
