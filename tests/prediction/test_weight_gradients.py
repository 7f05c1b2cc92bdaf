"""Gradients of parameters that are sums over many places: their norms, held against draws."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.measurement import measure
from steadygrad.prediction import predict

DRAWS, APPROXIMATE = 48, 0.15  # of the log: lags are means over all pairs of places so far apart
ON_WHITE = 0.25  # of weights that meet white images, to whose windows gradients lie along


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


IMAGES, LABELS = torch.rand(8, 3, 16, 16, generator=rng()), torch.arange(8) % 10
LARGE = torch.rand(8, 3, 64, 64, generator=rng(2))
WHITE, STEPS = torch.randn(8, 3, 16, 16, generator=rng(3)), torch.randn(8, 4, 64, generator=rng(4))
VECTORS, ONE_CLASS = torch.randn(16, 32, generator=rng(1)), torch.zeros(16, dtype=torch.long)
VECTOR_LABELS = torch.arange(16) % 10


class Last(nn.Module):
    """Channels last, as a layer norm has them, and back."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def autoencoder():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(32, 16, 2, 2), nn.ReLU(), nn.ConvTranspose2d(16, 3, 2, 2),
    )  # fmt: skip


def depthwise():
    return nn.Sequential(
        nn.Conv2d(3, 32, 2, 2), nn.Conv2d(32, 32, 7, padding=3, groups=32), Last(32), nn.Conv2d(32, 64, 1), nn.GELU(),
        nn.Conv2d(64, 32, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def averaged():
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1),
        nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def plain():
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def largest(kernel, stride):
    return lambda: nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(kernel, stride), nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(), nn.MaxPool2d(kernel, stride), nn.Flatten(), nn.LazyLinear(10),
    )  # fmt: skip


def largest_averaged():
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(32, 32, 3, padding=1), nn.Flatten(2), Averaged(),
        nn.Linear(32, 10),
    )  # fmt: skip


class Averaged(nn.Module):
    """The mean over the last axis."""

    def forward(self, x):
        return x.mean(-1)


def dilated():
    return nn.Sequential(
        nn.Conv1d(4, 32, 3, padding=1), nn.ReLU(), nn.Conv1d(32, 32, 3, padding=2, dilation=2), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


class Summed(nn.Module):
    """A normed branch added to a rectified stream, and rectified again; `first` joins as another norm's output does."""

    def __init__(self, norm, width=32):
        super().__init__()
        self.stem, self.first, self.branch = nn.Conv2d(3, width, 3, padding=1), norm(width), norm(width)
        self.conv, self.last, self.head = nn.Conv2d(width, width, 3, padding=1), norm(width), nn.Linear(width, 10)
        self.other = nn.Conv2d(width, width, 1)

    def forward(self, x):
        x = torch.relu(self.first(self.stem(x)))
        x = torch.relu(x + self.branch(self.conv(x)))
        return self.head(torch.relu(self.last(self.other(x)) + self.conv(x)).mean((2, 3)))


def normed_last(norm):
    return lambda: nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), norm, nn.Flatten(), nn.LazyLinear(10))


class WithToken(nn.Module):
    """Patches and a class token, which is all that is read."""

    def __init__(self, width=32):
        super().__init__()
        self.patch, self.token = nn.Conv2d(3, width, 4, 4), nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.first, self.second, self.last = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix = nn.MultiheadAttention(width, 4, batch_first=True)
        self.wide, self.narrow, self.head = nn.Linear(width, 64), nn.Linear(64, width), nn.Linear(width, 10)

    def forward(self, x):
        x = torch.cat([self.token.expand(len(x), -1, -1), self.patch(x).flatten(2).transpose(1, 2)], 1)
        h = self.first(x)
        x = x + self.mix(h, h, h, need_weights=False)[0]
        x = x + self.narrow(F.gelu(self.wide(self.second(x))))
        return self.head(self.last(x)[:, 0])


def vectors():
    return nn.Sequential(
        nn.Linear(32, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(),
        nn.Linear(64, 10),
    )  # fmt: skip


class Times(nn.Module):
    """Smaller by a factor."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


def faint(norm):
    """In front of a norm a variance of a third of 9e-6, beside which its epsilon of 1e-5 is large."""
    return lambda: nn.Sequential(
        nn.Linear(32, 64), Times(3e-3), norm(64), nn.ReLU(), nn.Linear(64, 32), Times(3e-3), norm(32), nn.Linear(32, 10)
    )


CASES = {
    "autoencoder": (autoencoder, IMAGES, IMAGES, F.mse_loss),
    "flattened": (autoencoder, IMAGES, IMAGES, lambda o, y: (o.flatten(1) - y.flatten(1)).square().sum(1).mean()),
    "large": (autoencoder, LARGE, LARGE, lambda o, y: F.binary_cross_entropy_with_logits(o, y, reduction="sum") / 8),
    "depthwise": (depthwise, IMAGES, LABELS, F.cross_entropy),
    "averaged": (averaged, IMAGES, LABELS, F.cross_entropy),
    "plain": (plain, WHITE, LABELS, F.cross_entropy),
    "largest": (largest(2, 2), WHITE, LABELS, F.cross_entropy),
    "largest, overlapping": (largest(3, 2), WHITE, LABELS, F.cross_entropy),
    "largest, images alike": (largest(2, 2), IMAGES, LABELS, F.cross_entropy),
    "largest, averaged": (largest_averaged, WHITE, LABELS, F.cross_entropy),
    "sums, batch norm": (lambda: Summed(nn.BatchNorm2d), IMAGES, LABELS, F.cross_entropy),
    "sums, group norm": (lambda: Summed(lambda c: nn.GroupNorm(4, c)), IMAGES, LABELS, F.cross_entropy),
    "batch norm, flattened": (normed_last(nn.BatchNorm2d(24)), IMAGES, LABELS, F.cross_entropy),
    "group norm, flattened": (normed_last(nn.GroupNorm(4, 24)), IMAGES, LABELS, F.cross_entropy),
    "class token": (WithToken, WHITE, LABELS, F.cross_entropy),
    "faint, batch norm": (faint(nn.BatchNorm1d), VECTORS, VECTOR_LABELS, F.cross_entropy),
    "faint, layer norm": (faint(nn.LayerNorm), VECTORS, VECTOR_LABELS, F.cross_entropy),
    "dilated": (dilated, STEPS, LABELS, F.cross_entropy),
}


def measured(factory, x, y, loss_fn):
    found = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        found.append(measure(factory(), x, y, loss_fn))
    return found


@pytest.mark.parametrize("case", CASES)
def test_norms_agree_with_draws(case):
    """The root mean square over draws; a bias in front of a batch norm has no gradient but for rounding."""
    factory, x, y, loss_fn = CASES[case]
    profile = predict(factory, x, y, loss_fn=loss_fn)
    assert not profile.unknown
    drawn = measured(factory, x, y, loss_fn)
    largest = max(profile.parameter_grad_norms.values())
    for name, norm in profile.parameter_grad_norms.items():
        squares = np.array([p.parameter_grad_norms[name] ** 2 for p in drawn])
        if squares.mean() < (1e-6 * largest) ** 2:
            assert norm < 0.03 * largest, name  # lags are no more than means
            continue
        error = 5 * squares.std() / squares.mean() / np.sqrt(DRAWS) / 2
        slack = ON_WHITE if x is WHITE and name == "0.weight" else APPROXIMATE
        assert abs(np.log(norm / np.sqrt(squares.mean()))) < error + slack, name


def test_a_batch_norm_takes_what_examples_have_in_common_out_of_their_gradients():
    """Gradients of the batch sum to zero in front of one: of B examples any two have the cosine -1/(B - 1).

    All have one label, so that behind it they have nearly all in common.
    """
    profile = predict(vectors, VECTORS, ONE_CLASS, loss_fn=F.cross_entropy)
    drawn = measured(vectors, VECTORS, ONE_CLASS, F.cross_entropy)
    for i, row in enumerate(profile):
        cosines = np.array([p.layers[i].grad_c for p in drawn])
        assert abs(row.grad_c - np.median(cosines)) < 5 * 1.25 * cosines.std() / np.sqrt(DRAWS) + 0.01, row.path
    for path in ("0", "3"):
        assert profile[path].grad_c == pytest.approx(-1 / (len(VECTORS) - 1), abs=0.005)
