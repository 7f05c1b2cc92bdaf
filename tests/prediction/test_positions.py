"""Positions: pixels, steps and tokens. What pools, norms, mixes and meets them agrees with draws of the real network.

`slack` is how far, in the log, the assumption that the correlation of two positions depends on their distance alone
may move the median; the inputs are small, so borders count for much.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.prediction import predict

DRAWS = 30


def seeded(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


IMAGES, STEPS = seeded(8, 3, 12, 12), seeded(8, 10, 64)
TOKENS = torch.randint(0, 40, (16, 12), generator=torch.Generator().manual_seed(0))


def he_(model):
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv1d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return model


def conv(inputs, outputs, **options):
    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)


def network(*layers):
    return lambda: he_(nn.Sequential(*(layer() for layer in layers)))


def cnn(norm):
    return network(
        lambda: conv(3, 64), lambda: norm(64), nn.ReLU, lambda: conv(64, 64, stride=2), lambda: norm(64), nn.ReLU,
        lambda: nn.AdaptiveAvgPool2d(1), nn.Flatten, lambda: nn.Linear(64, 10),
    )  # fmt: skip


def pooled(pool):
    return network(lambda: conv(3, 64), nn.ReLU, pool, lambda: conv(64, 64), nn.ReLU)


class MeanOver(nn.Module):
    """Features of an image, averaged by hand."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.head = he_(conv(3, 64)), nn.ReLU(), nn.Linear(64, 32)

    def forward(self, x):
        return self.head(self.act(self.conv(x)).mean(dim=(2, 3)))


class ByHand(nn.Module):
    """RMS norm and layer norm as people write them."""

    def __init__(self, centred):
        super().__init__()
        self.scale, self.centred = nn.Parameter(torch.ones(64)), centred

    def forward(self, x):
        if self.centred:
            deviation = x - x.mean(-1, keepdim=True)
            return self.scale * deviation / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5)
        return self.scale * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def normed(norm):
    return network(lambda: nn.Linear(64, 64), norm, nn.ReLU, lambda: nn.Linear(64, 64), norm, lambda: nn.Linear(64, 64))


class Embedded(nn.Module):
    """Tokens, learned positions, and a feed-forward branch; the mean over positions goes to the head."""

    def __init__(self):
        super().__init__()
        self.table, self.positions = nn.Embedding(40, 64), nn.Embedding(12, 64)
        self.shift = nn.Parameter(torch.randn(12, 64) * 0.5)
        self.norm, self.up, self.act, self.down = nn.LayerNorm(64), nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64)
        self.head = nn.Linear(64, 40)

    def forward(self, tokens):
        x = self.table(tokens) + self.shift + self.positions(torch.arange(12))
        x = x + self.down(self.act(self.up(self.norm(x))))
        return self.head(x.mean(1))


class Mixer(nn.Module):
    """A layer over positions, by transposes, and one over features."""

    def __init__(self):
        super().__init__()
        self.stem, self.over_steps, self.act = nn.Linear(64, 64), nn.Linear(10, 10), nn.GELU()
        self.norm, self.over_features = nn.LayerNorm(64), nn.Linear(64, 64)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.act(self.over_steps(self.norm(x).transpose(1, 2))).transpose(1, 2)
        return self.over_features(x)


class OverPatches(Mixer):
    """The same over the patches of an image, which its convolution knows as a grid."""

    def __init__(self):
        super().__init__()
        self.stem, self.over_steps = nn.Conv2d(3, 64, 3, 4), nn.Linear(9, 9)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = x + self.act(self.over_steps(self.norm(x).transpose(1, 2))).transpose(1, 2)
        return self.over_features(x)


def padded():
    return he_(nn.Sequential(*(m for i in range(6) for m in (conv(64 if i else 3, 64), nn.ReLU()))))


class Case(NamedTuple):
    factory: object
    inputs: torch.Tensor
    slack: float = 0.05


CASES = {
    "padded convolutions": Case(padded, IMAGES, 0.1),
    "max pooling": Case(pooled(lambda: nn.MaxPool2d(2)), IMAGES),
    "overlapping max pooling": Case(pooled(lambda: nn.MaxPool2d(3, 2, 1)), IMAGES),
    "mean pooling": Case(pooled(lambda: nn.AvgPool2d(2)), IMAGES),
    "adaptive pooling": Case(pooled(lambda: nn.AdaptiveAvgPool2d(3)), IMAGES),
    "mean over pixels": Case(MeanOver, IMAGES),
    "batch norm": Case(cnn(nn.BatchNorm2d), IMAGES),
    "group norm": Case(cnn(lambda n: nn.GroupNorm(4, n)), IMAGES, 0.1),
    "instance norm": Case(cnn(nn.InstanceNorm2d), IMAGES, 0.1),
    "batch norm in evaluation": Case(lambda: cnn(nn.BatchNorm2d)().eval(), IMAGES, 0.1),
    "rms norm": Case(normed(lambda: nn.RMSNorm(64)), STEPS),
    "rms norm by hand": Case(normed(lambda: ByHand(centred=False)), STEPS),
    "layer norm by hand": Case(normed(lambda: ByHand(centred=True)), STEPS),
    "layer norm": Case(normed(lambda: nn.LayerNorm(64)), STEPS),
    "tokens": Case(Embedded, TOKENS),
    "mixer": Case(Mixer, STEPS),
    "mixer of patches": Case(OverPatches, IMAGES, 0.1),
}  # fmt: skip


def note(grads, place, grad):
    grads[place] = float(grad.double().square().mean())


def draw(factory, inputs, seed):
    """Second moment of each module's output and of its gradient, rows in the order of execution."""
    torch.manual_seed(seed)
    model, rows, grads = factory(), [], {}

    def hook(module, args, out):
        rows.append(float(out.detach().double().square().mean()))
        if out.requires_grad:
            out.register_hook(functools.partial(note, grads, len(rows) - 1))

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(hook)
    out = model(inputs)
    out.backward(torch.randn_like(out))
    return [[q, grads.get(i, math.nan)] for i, q in enumerate(rows)]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_signals_and_gradients_agree_with_draws(case):
    """The median of each row's log lies within four standard errors and the slack of the prediction."""
    torch.manual_seed(0)
    profile = predict(case.factory, case.inputs)
    assert not profile.unknown
    real = np.log([draw(case.factory, case.inputs, seed) for seed in range(DRAWS)])
    error = 4 * math.sqrt(math.pi / 2 / DRAWS)
    for i, row in enumerate(profile):
        assert row.mark in ("exact", "approximate")
        for column, predicted in ((0, row.q), (1, row.grad_q)):
            log = real[:, i, column]
            off = abs(math.log(predicted) - np.median(log))
            assert off < error * log.std() + case.slack, (row.path, row.kind, column, off)


def test_padding_in_a_deep_network_decays_as_its_largest_eigenvalue():
    """A 3 x 3 kernel with zero padding on n x n: per layer ((1 + 2 cos(pi/(n+1)))/3)^2 of the second moment is left."""
    size, width = 12, 2048

    def deep():
        layers = [m for i in range(24) for m in (nn.Conv2d(3 if i == 0 else width, width, 3, padding=1), nn.ReLU())]
        return he_(nn.Sequential(*layers))

    profile = predict(deep, (4, 3, size, size))
    rows = [row for row in profile if row.kind == "Conv2d"]
    left = ((1 + 2 * math.cos(math.pi / (size + 1))) / 3) ** 2
    assert rows[-1].q / rows[-2].q == pytest.approx(left, rel=0.01)
    assert rows[2].grad_q / rows[3].grad_q == pytest.approx(left, rel=0.01)


def test_white_pixels_behind_relu_have_the_correlation_of_the_arc_cosine_kernel():
    """Their mean over p pixels keeps (1 + (p - 1)/pi)/p of the second moment, 1/pi being the correlation of two."""
    factory = network(lambda: nn.Conv2d(3, 4096, 1), nn.ReLU, lambda: nn.AdaptiveAvgPool2d(1))
    relu, mean = predict(factory, (4, 3, 6, 6)).layers[1:]
    assert mean.q / relu.q == pytest.approx((1 + 35 / math.pi) / 36, rel=0.01)


@pytest.mark.parametrize(
    "norm", [nn.RMSNorm, nn.LayerNorm, lambda n: ByHand(centred=False), lambda n: ByHand(centred=True)]
)
def test_each_position_is_divided_by_its_own_size(norm):
    """Steps eight times as large as others: the gradient is the mean of 1/s² over steps, 16 times 1/(mean of s²).

    The median of 40 draws, within 0.1.
    """
    sizes = torch.tensor([0.25, 2.0]).repeat(5)[:, None]
    x, count = seeded(8, 10, 64) * sizes, 40

    def network():
        return nn.Sequential(nn.Linear(64, 64, bias=False), norm(64))

    row = predict(network, x).layers[0]
    real = np.log([draw(network, x, seed)[0][1] for seed in range(count)])
    assert abs(math.log(row.grad_q) - np.median(real)) < 0.1
    variances = x.double().square().mean(2) / 3  # of W x, for each step: of a default layer 64 Var(w) = 1/3
    assert row.grad_q == pytest.approx(float(variances.reciprocal().mean()), rel=0.1)


class Searched(nn.Module):
    """Features of a sequence, of which the largest over all steps go on, as in a text's convolutional network."""

    def __init__(self, largest):
        super().__init__()
        self.conv, self.act, self.largest = nn.Conv1d(64, 64, 3), nn.ReLU(), largest
        self.mark, self.head = nn.Identity(), nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.mark(self.largest(self.act(self.conv(x.transpose(1, 2))))))


LARGEST = {
    "amax": lambda x: x.amax(2),
    "max": lambda x: x.max(2)[0],
    "median": lambda x: x.median(2)[0],
    "logsumexp": lambda x: x.logsumexp(2),
    "a window of all": lambda x: nn.functional.max_pool1d(x, x.shape[2]).squeeze(2),
    "adaptive": lambda x: nn.functional.adaptive_max_pool1d(x, 1).flatten(1),
}


@pytest.mark.parametrize("largest", LARGEST.values(), ids=LARGEST)
def test_the_largest_of_all_positions_goes_on_and_back(largest):
    """Medians of 40 draws within 0.1, or five standard errors."""
    profile, count = predict(lambda: Searched(largest), STEPS), 40
    assert not profile.unknown
    real = np.log([draw(lambda: Searched(largest), STEPS, seed) for seed in range(count)])
    predicted = np.log([(row.q, row.grad_q) for row in profile])
    error = 5 * 1.2533 * real.std(0) / math.sqrt(count)
    assert (np.abs(predicted - np.median(real, 0)) < np.maximum(error, 0.1)).all()


def test_a_deviation_over_positions_is_not_followed():
    """Its gradient is a direction of the positions, which samples that are taken one by one would not tell."""
    profile = predict(lambda: Searched(lambda x: x.std(2)), STEPS)
    assert [row.mark for row in profile if row.kind in ("Identity", "Linear")] == ["unknown", "unknown"]
    assert "aten.std over positions" in profile.unknown[0]


@pytest.mark.parametrize("norm", [lambda: nn.LayerNorm(64), nn.Identity])
def test_a_layer_over_positions_varies_by_the_squared_products_of_all_pairs_of_places(norm):
    """The square of N units has the relative variance 2 mean (x·x'/n)²/q²/N over pairs of places, behind a norm too."""
    units, before = 192, network(lambda: nn.Linear(64, 64), norm)
    squares = []
    for seed in range(40):
        torch.manual_seed(seed)
        with torch.no_grad():
            x = before()(STEPS).reshape(-1, 64).double()
        squares.append(float((x @ x.T / 64).square().mean() / x.square().mean() ** 2))
    row = predict(network(lambda: nn.Linear(64, 64), norm, lambda: nn.Linear(64, units)), STEPS)["2"]
    drawn = (
        0.0 if norm is not nn.Identity else 2 * squares_of_data() / 64
    )  # what the first layer's own square varies by
    deviation = math.log(row.q_high / row.q_low) / (2 * 1.959964)
    assert deviation**2 == pytest.approx(2 * np.mean(squares) / units + drawn, rel=0.05)


def squares_of_data():
    x = STEPS.reshape(-1, 64).double()
    return float((x @ x.T / 64).square().mean() / x.square().mean() ** 2)


def test_a_gradient_that_all_pixels_share_varies_as_the_few_directions_that_it_comes_from():
    """Behind a mean over pixels, |W^T g|² of N units varies by 2r/N, r the mean squared cosine of examples' gradients.

    Of B examples r = 1/B + (1 - 1/B)(r' + (1 + 2r')(1 - r')/N), r' = 1/K that of those of K logits.
    """
    units, logits, examples = 64, 10, len(IMAGES)

    def factory():
        pool = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        return he_(nn.Sequential(nn.Conv2d(3, units, 1), nn.Conv2d(units, units, 1), *pool, nn.Linear(units, logits)))

    first, second, *_ = predict(factory, IMAGES)
    before, behind = ((math.log(row.grad_q_high / row.grad_q_low) / (2 * 1.959964)) ** 2 for row in (first, second))
    r = 1 / logits + (1 + 2 / logits) * (1 - 1 / logits) / units
    assert before - behind == pytest.approx(2 * (1 / examples + (1 - 1 / examples) * r) / units, rel=0.02)
