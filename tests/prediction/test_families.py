"""Families of operators beside linear and pointwise ones: each agrees with draws of the real network.

Each family marks itself approximate and says what it assumes; `slack` is how far, in the log, that assumption may move
the median: the same moments at every position for a convolution, independent units for the others.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.prediction import predict

DRAWS = 60
FLAT = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(8, 3, 12, 12, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randint(0, 40, (32, 12), generator=torch.Generator().manual_seed(0))


def he_(model):
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv1d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return model


def normed(norm, activation=nn.ReLU):
    middle = [m for _ in range(2) for m in (nn.Linear(64, 64), norm(64), activation())]
    return he_(nn.Sequential(nn.Linear(64, 64), norm(64), activation(), *middle, nn.Linear(64, 64)))


class PreNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(64) for _ in range(4))
        self.up = nn.ModuleList(nn.Linear(64, 128) for _ in range(4))
        self.down = nn.ModuleList(nn.Linear(128, 64) for _ in range(4))

    def forward(self, x):
        for norm, up, down in zip(self.norms, self.up, self.down, strict=True):
            x = x + down(F.gelu(up(norm(x))))
        return x


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(40, 16), nn.Linear(16 * 12, 64)

    def forward(self, tokens):
        return self.head(self.table(tokens).flatten(1))


class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Linear(64, 32), nn.Linear(64, 64), nn.Linear(96, 32)

    def forward(self, x):
        return self.head(torch.relu(torch.cat([self.one(x), torch.tanh(self.two(x))], 1)))


def pyramid(**options):
    layers = [nn.Conv2d(3, 32, 3, **options), nn.ReLU(), nn.Conv2d(32, 32, 3, groups=4, **options), nn.ReLU()]
    return he_(nn.Sequential(*layers, nn.Conv2d(32, 32, 3, stride=2), nn.ReLU(), nn.Flatten()))


def drop():
    return he_(
        nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 64), nn.Tanh(), nn.Dropout(0.2))
    )


FAMILIES = {
    "layer norm": (lambda: normed(nn.LayerNorm), FLAT, 0.06),
    "layer norm, tanh": (lambda: normed(nn.LayerNorm, nn.Tanh), FLAT, 0.06),
    "batch norm": (lambda: normed(nn.BatchNorm1d), FLAT, 0.06),
    "pre-norm residual": (PreNorm, FLAT, 0.1),
    "dropout": (drop, FLAT, 0.06),
    "joined": (Joined, FLAT, 0.06),
    "embedding": (Bag, TOKENS, 0.06),
}


def note(store, grad):
    store.append(float(grad.double().square().mean()))


def draw(factory, inputs, seed):
    """Second moment, signal and gradient of each module's output, rows in the order of execution."""
    torch.manual_seed(seed)
    model, rows, grads = factory(), [], []

    def hook(module, args, out):
        value = out.detach().double()
        rows.append([float(value.square().mean()), float(value.var(0).mean())])
        out.register_hook(lambda g: note(grads, g))

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(hook)
    out = model(inputs)
    out.backward(torch.randn_like(out))
    return np.array(rows), grads


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_moments_agree_with_draws(family):
    factory, inputs, slack = family
    profile = predict(factory, inputs)
    assert not profile.unknown
    assert {row.mark for row in profile} <= {"exact", "approximate"}
    real = np.log([draw(factory, inputs, seed)[0] for seed in range(DRAWS)])
    error = 5 * math.sqrt(math.pi / 2 / DRAWS)  # five standard errors of a median
    for i, row in enumerate(profile):
        for column, predicted in ((0, row.q), (1, row.signal)):
            log = real[:, i, column]
            assert abs(math.log(predicted) - np.median(log)) < error * log.std() + slack, (row.path, column)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_the_gradient_at_the_first_module_agrees_with_draws(family):
    factory, inputs, slack = family
    row = predict(factory, inputs).layers[0]
    real = np.log([draw(factory, inputs, seed)[1][-1] for seed in range(DRAWS)])
    error = 5 * math.sqrt(math.pi / 2 / DRAWS) * real.std()
    assert abs(math.log(row.grad_q) - np.median(real)) < error + slack


def test_a_mask_over_the_batch_leaves_its_examples_apart():
    """One draw of N entries is off by the root of (1/(1 - p) - 1) E[x⁴]/E[x²]²/N, of a Gaussian with 3."""
    p = 0.3
    row = predict(nn.Sequential(nn.Dropout(p), nn.Linear(64, 8)), FLAT).layers[0]
    q, signal = float(FLAT.square().mean()) / (1 - p), float(FLAT.var(0).mean())
    error = 5 * math.sqrt(3 * (1 / (1 - p) - 1) / FLAT.numel())
    assert row.q == pytest.approx(q, rel=error)
    assert row.signal == pytest.approx(q - float(FLAT.square().mean()) + signal, rel=error)


CONVOLUTIONS = {"valid": {}, "padded": {"padding": 1}, "dilated": {"dilation": 2}}


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_the_first_convolution_is_right_in_the_mean_and_the_next_ones_nearly(options):
    """The first sees even inputs, but for the border; behind it positions differ where there is padding."""
    profile = predict(lambda: pyramid(**options), IMAGES)
    assert not profile.unknown
    real = np.log([draw(lambda: pyramid(**options), IMAGES, seed)[0][:, 0] for seed in range(DRAWS)])
    for i, slack in ((0, 0.02), (1, 0.02), (2, 0.1), (3, 0.1), (4, 0.2), (5, 0.2)):
        error = 5 * math.sqrt(math.pi / 2 / DRAWS) * real[:, i].std()
        assert abs(math.log(profile.layers[i].q) - np.median(real[:, i])) < error + slack, profile.layers[i].path


def test_batch_norm_before_relu_explodes_the_gradient():
    """the squared gradient grows by pi/(pi - 1) a layer, going back (Yang et al. 2019)."""

    def network():
        layers = [m for _ in range(12) for m in (nn.Linear(1024, 1024), nn.BatchNorm1d(1024), nn.ReLU())]
        return he_(nn.Sequential(*layers))

    linear = [row for row in predict(network, (1024, 1024)) if row.kind == "Linear"]
    for a, b in itertools.pairwise(linear[4:]):
        assert a.grad_q * b.q / (b.grad_q * a.q) == pytest.approx(math.pi / (math.pi - 1), rel=0.03)
