"""Signals times numbers that do not depend on them, held against draws: rates of decay, scales, gates of channels."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steadygrad.measurement import measure
from steadygrad.prediction import predict
from steadygrad.prediction.hermite import tables
from steadygrad.prediction.side_by_side import quantiles

DRAWS, APPROXIMATE = 48, 0.1


class Selective(nn.Module):
    """A state-space layer: states decay by e^(Δ A), A known, Δ > 0 of the input."""

    def __init__(self, width=32, states=8):
        super().__init__()
        self.first, self.step, self.last = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 10)
        self.rates = nn.Parameter(torch.arange(1, states + 1).float().log().repeat(width, 1))
        self.into, self.out_of = nn.Linear(width, states), nn.Linear(width, states)

    def forward(self, x):
        x = self.first(x)
        step, rates, into, out_of = F.softplus(self.step(x)), -self.rates.exp(), self.into(x), self.out_of(x)
        state, seen = 0.0, []
        for t in range(x.shape[1]):
            kept = torch.exp(step[:, t, :, None] * rates)
            state = kept * state + (step[:, t] * x[:, t])[..., None] * into[:, t, None]
            seen.append((state * out_of[:, t, None]).sum(-1))
        return self.last(torch.stack(seen, 1) + x)


class Scaled(nn.Module):
    """A function times a uniform scale for each channel."""

    def __init__(self, width=64):
        super().__init__()
        self.first, self.last = nn.Linear(32, width), nn.Linear(width, 10)
        self.scale = nn.Parameter(torch.rand(width))

    def forward(self, x):
        return self.last(torch.relu(self.scale * F.softplus(self.first(x)) - 0.2))


class Excited(nn.Module):
    """Squeeze and excite, behind a batch norm and before a rectified sum."""

    def __init__(self, width):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, width)
        )

    def forward(self, x):
        h = self.norm(self.conv(x))
        return torch.relu(x + h * torch.sigmoid(self.gate(h))[:, :, None, None])


def excited():
    blocks = (Excited(32), Excited(32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    return nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), *blocks)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


LABELS = torch.arange(8) % 10
CASES = {
    "selective": (Selective, torch.randn(8, 6, 32, generator=rng()), lambda o: F.cross_entropy(o.mean(1), LABELS)),
    "scaled": (Scaled, torch.randn(8, 32, generator=rng()), lambda o: F.cross_entropy(o, LABELS)),
    "excited": (excited, torch.rand(8, 3, 16, 16, generator=rng()), lambda o: F.cross_entropy(o, LABELS)),
}
# gradients, .4 and .3 low: behind a rectifier that opens where the scale is large the scale is met again
NOT_FOLLOWED = {
    "selective": ("into",), "scaled": ("first",), "excited": ("1.gate.2", "1.gate.3", "1.gate.4"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_rows_agree_with_draws(case):
    """Medians of the logs of 48 draws, within five standard errors and a tenth."""
    factory, x, of = CASES[case]
    profile = predict(factory, x, loss_fn=lambda o, _: of(o))
    assert not profile.unknown
    drawn = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        drawn.append(measure(factory(), x, None, lambda o, _: of(o)).layers)
    for i, row in enumerate(profile):
        for name in ("q", "grad_q"):
            logs = np.log([getattr(rows[i], name) for rows in drawn])
            error = 5 * 1.25 * logs.std() / DRAWS**0.5 + APPROXIMATE
            if name == "q" or row.path not in NOT_FOLLOWED.get(case, ()):
                assert abs(math.log(getattr(row, name)) - np.median(logs)) < error, (row.path, name)


def test_what_all_examples_are_multiplied_by_leaves_their_cosines():
    """E[a² h h'] over E[a² h²] is that of h, where a mask of each example would leave E[a]²/E[a²] = 3/4 of it."""

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.scale, self.last = nn.Linear(32, 512), nn.Parameter(torch.rand(512)), nn.Linear(512, 8)

        def forward(self, x):
            return self.last(self.scale * self.first(x))

    x = torch.randn(1, 32, generator=rng()) + 0.1 * torch.randn(8, 32, generator=rng(1))
    profile = predict(Gated, x)
    assert profile["last"].c == pytest.approx(profile["first"].c, abs=0.01)


def test_a_distribution_is_had_back_from_its_quantiles():
    z, w = tables()[:2]
    found = quantiles(np.outer([-2.0, -1.0], np.exp(z)), np.outer([0.5, 0.5], w))
    assert (found < 0).all()
    assert (np.diff(found) >= 0).all()
    assert found @ w == pytest.approx(-1.5 * math.exp(0.5), rel=0.02)


def test_a_size_that_no_draw_is_typical_of_is_unknown():
    """e^(10 e^z) has a second moment, on nodes, that is that of its largest draws alone."""

    class Towers(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(32, 64), nn.Linear(64, 8)

        def forward(self, x):
            return self.last(torch.exp(4 * torch.exp(3 * self.first(x))))

    profile = predict(Towers, (8, 32))
    assert profile["last"].mark == "unknown"
    assert math.isnan(profile["last"].q)
    assert profile.unknown
